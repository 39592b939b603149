//! Keys: what a directory writes, what a seal names, what signs.

use alloc::string::String;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use core::str::FromStr;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::KeyId;

/// How a public key is written: this, then standard padded base64 of its 32 bytes.
const PREFIX: &str = "ed25519:";

/// The key id of 32 public key bytes: the first 8 bytes of
/// `SHA-256("selvedge/v1/key-id\0" | public key)`, read little-endian.
pub fn key_id(public: &[u8; 32]) -> KeyId {
    let digest =
        Sha256::new().chain_update(b"selvedge/v1/key-id\0").chain_update(public).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    KeyId(u64::from_le_bytes(first))
}

/// A public key fit to verify with: on the curve, canonically encoded, of large order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: VerifyingKey,
}

/// Why a text or 32 bytes are no usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not `ed25519:` and padded base64 of 32 bytes.
    #[error("a key is written ed25519: and standard, padded base64 of its 32 bytes")]
    Text,
    /// Not a canonical point of the curve.
    #[error("these 32 bytes are not a canonical Ed25519 public key")]
    NotCanonical,
    /// A point of small order: signatures under it prove nothing.
    #[error("this Ed25519 public key is weak (of small order)")]
    Weak,
}

impl PublicKey {
    /// Checks 32 bytes.
    ///
    /// # Errors
    /// [`BadKey::NotCanonical`] or [`BadKey::Weak`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, BadKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| BadKey::NotCanonical)?;
        // Decompression accepts y >= p; what does not compress to itself is a key's second name.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(BadKey::NotCanonical);
        }
        if key.is_weak() {
            return Err(BadKey::Weak);
        }
        Ok(PublicKey { id: key_id(bytes), key })
    }

    /// How seals name this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` over `message` is this key's, by the strict rules of RFC 8032.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<PublicKey, BadKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(BadKey::Text)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| BadKey::Text)?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| BadKey::Text)?;
        PublicKey::from_bytes(&bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from(PREFIX);
        STANDARD.encode_string(self.as_bytes(), &mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// The private half: signs commits and nothing else. Wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From 32 secret bytes (the seed of RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// The 32 secret bytes.
    pub fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let key = self.0.verifying_key();
        PublicKey { id: key_id(key.as_bytes()), key }
    }

    /// The deterministic signature of RFC 8032 over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_key_reads_back_as_it_is_written() {
        let key = SecretKey::from_seed(&[7; 32]).public();
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn weak_and_doubly_named_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(BadKey::Weak));
        let mut second_name = [0xff; 32]; // y = p + 1, the identity again
        (second_name[0], second_name[31]) = (0xee, 0x7f);
        assert_eq!(PublicKey::from_bytes(&second_name), Err(BadKey::NotCanonical));
    }

    #[test]
    fn only_padded_standard_base64_of_32_bytes_is_a_key() {
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA"] {
            assert_eq!(text.parse::<PublicKey>(), Err(BadKey::Text), "{text:?}");
        }
    }
}
