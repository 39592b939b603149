//! Where a message stands: which key said it, and its place in what that key has said.

use core::fmt;
use core::str::FromStr;

/// A stream: the first 8 bytes of `SHA-256("selvedge/v1/key-id\0" | public key)`, read
/// little-endian (see [`crate::seal::key_id`]). Shown as those 8 bytes in 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// A place in a stream: compared as a pair, epoch first. A number is never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which start of the publisher; opaque, only compared.
    pub epoch: u64,
    /// The message's number within the epoch, from 0.
    pub seq: u64,
}

impl Position {
    /// The place `seq` in `epoch`.
    pub const fn new(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq }
    }

    /// The place after this one in its epoch; of the last there is, itself.
    pub const fn after(self) -> Position {
        self.plus(1)
    }

    /// The place so many numbers later in its epoch; at most the last there is.
    pub const fn plus(self, numbers: u64) -> Position {
        Position { epoch: self.epoch, seq: self.seq.saturating_add(numbers) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.seq)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_le_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Not 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 16 hex digits")]
pub struct NotAKeyId;

impl FromStr for KeyId {
    type Err = NotAKeyId;
    fn from_str(text: &str) -> Result<KeyId, NotAKeyId> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAKeyId);
        }
        let digits = u64::from_str_radix(text, 16).map_err(|_| NotAKeyId)?;
        Ok(KeyId(u64::from_le_bytes(digits.to_be_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_key_id_reads_back_as_it_is_shown() {
        let id = KeyId(u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 0xff]));
        assert_eq!(id.to_string(), "01020304050607ff");
        assert_eq!("01020304050607ff".parse(), Ok(id));
        assert_eq!("+1020304050607ff".parse::<KeyId>(), Err(NotAKeyId));
    }
}
