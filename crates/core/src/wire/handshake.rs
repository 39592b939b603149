//! Greeting and READY: what two peers say before anything else (RFC 37, "NULL").

use alloc::string::String;
use bytes::Bytes;

use super::Fault;
use super::command::command;

/// Bytes of a greeting.
pub(super) const GREETING: usize = 64;
pub(super) const READY: &[u8] = b"READY";
pub(super) const ERROR: &[u8] = b"ERROR";

const MECHANISM: &[u8; 20] = b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const SOCKET_TYPE: &[u8] = b"Socket-Type";
const SELVEDGE: &[u8] = b"X-Selvedge";

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A PUB socket: takes subscriptions, sends messages. Its peer is a SUB or XSUB.
    Publisher,
    /// A SUB socket: sends subscriptions, takes messages. Its peer is a PUB or XPUB.
    Subscriber,
}

impl Role {
    fn socket_type(self) -> &'static [u8] {
        match self {
            Role::Publisher => b"PUB",
            Role::Subscriber => b"SUB",
        }
    }

    fn accepts(self, socket_type: &[u8]) -> bool {
        match self {
            Role::Publisher => matches!(socket_type, b"SUB" | b"XSUB"),
            Role::Subscriber => matches!(socket_type, b"PUB" | b"XPUB"),
        }
    }
}

/// What the handshake told about the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its minor version of ZMTP 3; 1 for any later major version, which must speak 3.1 to us.
    pub minor: u8,
    /// It sent `X-Selvedge: 1`: it understands MARK and its like.
    pub selvedge: bool,
}

/// The first 64 bytes to send, all at once: ZMTP 3.1, mechanism NULL, not a server.
pub fn greeting() -> [u8; GREETING] {
    let mut out = [0; GREETING];
    (out[0], out[9]) = (0xff, 0x7f);
    (out[10], out[11]) = (3, 1);
    out[12..32].copy_from_slice(MECHANISM);
    out
}

/// The READY command of a peer in this role. [`super::Connection`] asks for it at the right time.
pub fn ready(role: Role) -> Bytes {
    let socket_type = role.socket_type();
    command(
        READY,
        &[
            &[SOCKET_TYPE.len() as u8],
            SOCKET_TYPE,
            &(socket_type.len() as u32).to_be_bytes(),
            socket_type,
            &[SELVEDGE.len() as u8],
            SELVEDGE,
            &1_u32.to_be_bytes(),
            b"1",
        ],
    )
}

/// Judges as much of the peer's greeting as has arrived: its minor version once all is there.
///
/// A peer of another protocol or an older version is told apart by its first byte, tenth and
/// eleventh, for it may wait for us before it sends more.
pub(super) fn read_greeting(bytes: &[u8]) -> Result<Option<u8>, Fault> {
    if bytes.first().is_some_and(|&byte| byte != 0xff)
        || bytes.get(9).is_some_and(|&byte| byte != 0x7f)
    {
        return Err(Fault::Signature);
    }
    if let Some(&major) = bytes.get(10).filter(|&&major| major < 3) {
        return Err(Fault::OldVersion(major));
    }
    let Some(greeting) = bytes.first_chunk::<GREETING>() else { return Ok(None) };
    // as-server means nothing under NULL, and the filler is for later versions.
    let mechanism = &greeting[12..32];
    if mechanism != MECHANISM {
        return Err(Fault::Mechanism(printable(mechanism)));
    }
    Ok(Some(if greeting[10] > 3 { 1 } else { greeting[11] }))
}

/// Reads the properties of a READY command: whether the peer sent `X-Selvedge: 1`.
pub(super) fn read_ready(mut data: &[u8], role: Role) -> Result<bool, Fault> {
    let mut socket_type: &[u8] = b"";
    let mut selvedge = false;
    while !data.is_empty() {
        let (name, value, rest) = property(data).ok_or(Fault::Metadata)?;
        if name.eq_ignore_ascii_case(SOCKET_TYPE) {
            socket_type = value;
        } else if name.eq_ignore_ascii_case(SELVEDGE) {
            selvedge = value == b"1";
        }
        data = rest;
    }
    if role.accepts(socket_type) {
        Ok(selvedge)
    } else {
        Err(Fault::SocketType(printable(socket_type)))
    }
}

/// One property: name, value, and what follows.
fn property(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&len, rest) = data.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (value, rest) = rest.split_at_checked(len)?;
    (!name.is_empty()).then_some((name, value, rest))
}

/// The reason of an ERROR command, fit for a log.
pub(super) fn read_error(data: &[u8]) -> Fault {
    Fault::Refused(printable(data.get(1..).unwrap_or_default()))
}

/// A peer's bytes, fit for a log: what is not printable ASCII becomes `?`, padding goes, and 64
/// are enough.
fn printable(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let visible = |&byte: &u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
    bytes[..end].iter().take(64).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn strangers_are_known_as_early_as_possible() {
        let mut later = greeting();
        (later[10], later[11]) = (4, 0);
        let mut curve = greeting();
        curve[12..17].copy_from_slice(b"CURVE");
        for (bytes, expected) in [
            (&b""[..], Ok(None)),
            (b"GET / HTTP/1.1", Err(Fault::Signature)),
            (b"\xff\0\0\0\0\0\0\0\x01", Ok(None)),
            (b"\xff\0\0\0\0\0\0\0\x01\0", Err(Fault::Signature)),
            (b"\xff\0\0\0\0\0\0\0\x01\x7f\x01", Err(Fault::OldVersion(1))),
            (b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00", Ok(None)),
            (&greeting()[..63], Ok(None)),
            (&greeting(), Ok(Some(1))),
            (&later, Ok(Some(1))),
            (&curve, Err(Fault::Mechanism("CURVE".to_string()))),
        ] {
            assert_eq!(read_greeting(bytes), expected, "{bytes:02x?}");
        }
    }

    fn metadata(properties: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in properties {
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out
    }

    #[test]
    fn property_names_have_no_case_and_unknown_ones_are_skipped() {
        let data = metadata(&[("X-Other", "1"), ("SOCKET-TYPE", "XSUB"), ("x-selvedge", "1")]);
        assert_eq!(read_ready(&data, Role::Publisher), Ok(true));
        let data = metadata(&[("socket-type", "PUB"), ("Identity", "")]);
        assert_eq!(read_ready(&data, Role::Subscriber), Ok(false));
    }

    #[test]
    fn only_the_other_half_of_pub_sub_is_accepted() {
        for (role, accepted) in
            [(Role::Publisher, ["SUB", "XSUB"]), (Role::Subscriber, ["PUB", "XPUB"])]
        {
            for socket_type in ["PUB", "XPUB", "SUB", "XSUB", "REQ", "sub", ""] {
                let result = read_ready(&metadata(&[("Socket-Type", socket_type)]), role);
                assert_eq!(result.is_ok(), accepted.contains(&socket_type), "{socket_type}");
            }
            assert_eq!(read_ready(b"", role), Err(Fault::SocketType("".to_string())));
        }
    }

    #[test]
    fn a_property_that_lies_about_a_length_is_malformed() {
        for data in [
            &b"\x00\0\0\0\0"[..],
            b"\x01",
            b"\x01a\0\0\0",
            b"\x01a\0\0\0\x01",
            b"\x01a\xff\xff\xff\xffa",
            b"\xffa",
        ] {
            assert_eq!(read_ready(data, Role::Publisher), Err(Fault::Metadata), "{data:02x?}");
        }
    }

    #[test]
    fn what_a_peer_says_cannot_forge_a_log_line() {
        let reason = b"\x0aa\nb\x1b[0m\xff\0\0";
        assert_eq!(read_error(reason), Fault::Refused("a?b?[0m?".to_string()));
        assert_eq!(read_error(b""), Fault::Refused("".to_string()));
    }
}
