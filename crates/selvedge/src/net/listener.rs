//! The one port of a service.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use selvedge_core::directory::Endpoint;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::stream::{Stream, socket_path};

/// Connections that the kernel may hold ready for us.
const BACKLOG: i32 = 1_024;

/// A bound socket that listens.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix { socket: UnixListener, path: Option<PathBuf> },
}

/// Why an endpoint cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error("{endpoint} is in use by another process; stop that one, or set another `bind`")]
    InUse {
        /// The endpoint as configured.
        endpoint: Endpoint,
    },
    /// Anything else that the system says.
    #[error("cannot listen on {endpoint}: {error}")]
    System {
        /// The endpoint as configured.
        endpoint: Endpoint,
        /// What the system says.
        error: io::Error,
    },
    /// A listener that was handed in cannot be used.
    #[error("cannot use the listener that was given: {0}")]
    Given(io::Error),
}

/// Where a connection comes from, as far as limits per address care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Address(IpAddr),
    Local,
}

#[derive(Debug)]
pub(crate) struct Accepted {
    pub stream: Stream,
    pub source: Source,
}

impl Listener {
    /// Listens on `endpoint`: a loopback or local address as it is; of a name, its port on all
    /// interfaces, IPv6 and IPv4.
    ///
    /// # Errors
    /// [`BindError`] names the endpoint and what to do. Must be called within a tokio runtime.
    pub fn bind(endpoint: &Endpoint) -> Result<Listener, BindError> {
        let bound = match endpoint {
            Endpoint::Tcp { host, port } => bind_tcp(host, *port),
            Endpoint::Ipc { path } => bind_unix(path),
        };
        bound.map(Listener).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { endpoint: endpoint.clone() },
            _ => BindError::System { endpoint: endpoint.clone(), error },
        })
    }

    /// Takes a TCP listener that is bound already (by a service manager, or to port 0).
    ///
    /// # Errors
    /// [`BindError::Given`] if it cannot be made non-blocking. Must be called within a tokio
    /// runtime.
    pub fn from_tcp(listener: std::net::TcpListener) -> Result<Listener, BindError> {
        listener.set_nonblocking(true).map_err(BindError::Given)?;
        let listener = TcpListener::from_std(listener).map_err(BindError::Given)?;
        Ok(Listener(Kind::Tcp(listener)))
    }

    /// The address that TCP is bound to; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix { .. } => None,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                let source = Source::Address(from.ip().to_canonical());
                Ok(Accepted { stream: Stream::accepted(socket)?, source })
            }
            Kind::Unix { socket, .. } => {
                let (socket, _) = socket.accept().await?;
                Ok(Accepted { stream: Stream::Unix(socket), source: Source::Local })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix { path: Some(path), .. } = &self.0 {
            let _ = std::fs::remove_file(path); // best effort: a stale one is replaced at bind
        }
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<Kind> {
    let address = match host.parse::<IpAddr>() {
        Ok(address) => Some(address),
        Err(_) if host == "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Err(_) => None,
    };
    let listener = match address {
        // An address that is not this host's own (behind NAT) is treated like a name.
        Some(address) => match listen(SocketAddr::new(address, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => listen_all(port),
            listener => listener,
        },
        None => listen_all(port),
    };
    Ok(Kind::Tcp(TcpListener::from_std(listener?.into())?))
}

/// IPv6 with IPv4 mapped into it, or IPv4 where there is no IPv6.
fn listen_all(port: u16) -> io::Result<Socket> {
    match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        listener => listener,
    }
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_unix(path: &str) -> io::Result<Kind> {
    let file = (!path.starts_with('@')).then(|| PathBuf::from(path));
    let socket = match UnixListener::bind(socket_path(path)) {
        // Left behind by a process that is gone: nobody answers.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match &file {
            Some(file) if is_stale(file) => {
                std::fs::remove_file(file)?;
                UnixListener::bind(file)?
            }
            _ => return Err(error),
        },
        other => other?,
    };
    Ok(Kind::Unix { socket, path: file })
}

/// A socket that nobody listens on. A file that is no socket refuses connections too.
fn is_stale(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    if !std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return false;
    }
    let refused = std::os::unix::net::UnixStream::connect(path).map_err(|error| error.kind());
    matches!(refused, Err(io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipc(path: &std::path::Path) -> Endpoint {
        Endpoint::Ipc { path: path.to_str().unwrap().to_owned() }
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // its file stays
        let listener = Listener::bind(&ipc(&path)).unwrap();
        assert!(matches!(Listener::bind(&ipc(&path)), Err(BindError::InUse { .. })));
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&ipc(&path)), Err(BindError::InUse { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
