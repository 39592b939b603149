//! Where a process is reached: `tcp://host:port`, `tcp://[::1]:9940`, `ipc:///run/web.sock`.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Longest host name (RFC 1035, section 2.3.4, as text without the final dot).
const HOST_BYTES: usize = 253;

/// Longest path of a Unix socket on Linux: `sun_path` less its final NUL.
const IPC_BYTES: usize = 107;

/// An address to bind or to dial. Shown as it is written, so that it reads back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// A host name in lower case, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A Unix socket.
    Ipc {
        /// An absolute path, or `@name` in Linux's abstract namespace.
        path: String,
    },
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Neither `tcp://` nor `ipc://`.
    #[error("an endpoint starts with tcp:// or ipc://")]
    Scheme,
    /// No port after the last colon, or 0, or over 65535.
    #[error("a tcp endpoint ends with a colon and a port from 1 to 65535")]
    Port,
    /// Outside the grammar of host names, and no IPv4 address either.
    #[error("a host is an IPv4 address, an IPv6 address in brackets, or a name of a-z 0-9 - _ .")]
    Host,
    /// Brackets without an IPv6 address in them, or such an address without them.
    #[error("an IPv6 address stands in brackets: tcp://[::1]:9940")]
    Ipv6,
    /// Not absolute, with a control character, or too long for a socket.
    #[error("an ipc path is absolute, or @ and a name, and has at most {IPC_BYTES} bytes")]
    Path,
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, BadEndpoint> {
        if let Some(address) = text.strip_prefix("tcp://") {
            let (host, port) = address.rsplit_once(':').ok_or(BadEndpoint::Port)?;
            return Ok(Endpoint::Tcp { host: parse_host(host)?, port: parse_port(port)? });
        }
        let path = text.strip_prefix("ipc://").ok_or(BadEndpoint::Scheme)?;
        let rooted = path.starts_with('/') || path.starts_with('@');
        if !rooted || !(2..=IPC_BYTES).contains(&path.len()) || path.contains(char::is_control) {
            return Err(BadEndpoint::Path);
        }
        Ok(Endpoint::Ipc { path: path.to_owned() })
    }
}

fn parse_port(text: &str) -> Result<u16, BadEndpoint> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()); // parse takes a +
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(BadEndpoint::Port),
    }
}

fn parse_host(text: &str) -> Result<String, BadEndpoint> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(BadEndpoint::Ipv6)?;
        let address: Ipv6Addr = address.parse().map_err(|_| BadEndpoint::Ipv6)?;
        return Ok(address.to_string());
    }
    if text.contains(':') {
        return Err(BadEndpoint::Ipv6);
    }
    // Only digits and dots can be no name: resolvers disagree about what 127.1 is.
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let good = match numeric {
        true => text.parse::<Ipv4Addr>().is_ok(),
        false => text.len() <= HOST_BYTES && text.split('.').all(is_label),
    };
    if good { Ok(text.to_ascii_lowercase()) } else { Err(BadEndpoint::Host) }
}

/// A label of a host name; `_` too, which container networks use.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } if host.contains(':') => {
                write!(f, "tcp://[{host}]:{port}")
            }
            Endpoint::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Endpoint::Ipc { path } => write!(f, "ipc://{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_it_is_shown() {
        for (text, shown) in [
            ("tcp://inv01.example.org:9940", "tcp://inv01.example.org:9940"),
            ("tcp://INV01:1", "tcp://inv01:1"),
            ("tcp://127.0.0.1:65535", "tcp://127.0.0.1:65535"),
            ("tcp://[0:0::1]:9940", "tcp://[::1]:9940"),
            ("ipc:///run/web.sock", "ipc:///run/web.sock"),
            ("ipc://@web", "ipc://@web"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn each_way_to_be_no_endpoint_is_named() {
        for (text, why) in [
            ("", BadEndpoint::Scheme),
            ("udp://a:1", BadEndpoint::Scheme),
            ("tcp://a", BadEndpoint::Port),
            ("tcp://a:0", BadEndpoint::Port),
            ("tcp://a:+1", BadEndpoint::Port),
            ("tcp://a:65536", BadEndpoint::Port),
            ("tcp://:1", BadEndpoint::Host),
            ("tcp://127.1:1", BadEndpoint::Host),
            ("tcp://a..b:1", BadEndpoint::Host),
            ("tcp://a b:1", BadEndpoint::Host),
            ("tcp://::1:1", BadEndpoint::Ipv6),
            ("tcp://[::1:1", BadEndpoint::Ipv6),
            ("tcp://[fe80::1%eth0]:1", BadEndpoint::Ipv6),
            ("ipc://run/x", BadEndpoint::Path),
            ("ipc:///", BadEndpoint::Path),
            ("ipc:///a\0b", BadEndpoint::Path),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text:?}");
        }
    }
}
