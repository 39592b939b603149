//! A connected socket that may be read and written without being owned.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use selvedge_core::directory::Endpoint;
use selvedge_core::limits::STALLED;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

/// A dead host is noticed after 1 + 3 × 1 s, whether or not anything is said.
const KEEPALIVE: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 3;

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// A TCP socket with the options that every connection has.
    pub fn tcp(socket: TcpStream) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        options.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
        // Not shorter: Linux counts a reader that pauses (a closed window) against it too.
        options.set_tcp_user_timeout(Some(STALLED))?;
        Ok(Stream::Tcp(socket))
    }

    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.readable().await,
            Stream::Unix(socket) => socket.readable().await,
        }
    }

    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.writable().await,
            Stream::Unix(socket) => socket.writable().await,
        }
    }

    /// Reads what is there into the spare room of `buffer`; 0 at the end of the stream.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.try_read_buf(buffer),
            Stream::Unix(socket) => socket.try_read_buf(buffer),
        }
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.try_write_vectored(slices),
            Stream::Unix(socket) => socket.try_write_vectored(slices),
        }
    }

    /// Says that nothing more will be written.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => SockRef::from(socket).shutdown(std::net::Shutdown::Write),
            Stream::Unix(socket) => SockRef::from(socket).shutdown(std::net::Shutdown::Write),
        }
    }

    /// Writes as much of `pending` as the socket takes now.
    pub fn try_write(&self, pending: &mut Unwritten) -> io::Result<Progress> {
        let mut wrote = false;
        while pending.next < pending.slices.len() {
            let rest = &pending.slices[pending.next..];
            let slices: Vec<IoSlice<'_>> = rest.iter().map(|bytes| IoSlice::new(bytes)).collect();
            match self.try_write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    wrote = true;
                    pending.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(if wrote { Progress::Some } else { Progress::None });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&self, bytes: Bytes) -> io::Result<()> {
        let mut pending = Unwritten::new(vec![bytes]);
        while self.try_write(&mut pending)? != Progress::Done {
            self.writable().await?;
        }
        Ok(())
    }
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    None,
    Some,
    Done,
}

/// Bytes on their way to a socket.
#[derive(Debug)]
pub(crate) struct Unwritten {
    slices: Vec<Bytes>,
    next: usize,
}

impl Unwritten {
    pub fn new(slices: Vec<Bytes>) -> Unwritten {
        Unwritten { slices, next: 0 }
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(slice) = self.slices.get_mut(self.next) {
            if count < slice.len() {
                return slice.advance(count);
            }
            count -= slice.len();
            *slice = Bytes::new(); // its packet may be freed before the write is done
            self.next += 1;
        }
    }
}

/// Dials an endpoint. A host name is resolved now, and each of its addresses tried in turn.
pub(crate) async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    match endpoint {
        Endpoint::Ipc { path } => Ok(Stream::Unix(UnixStream::connect(socket_path(path)).await?)),
        Endpoint::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
                match TcpStream::connect(address).await {
                    Ok(socket) => return Stream::tcp(socket),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

/// `@name` stands for Linux's abstract namespace, which begins with a NUL.
pub(super) fn socket_path(path: &str) -> String {
    match path.strip_prefix('@') {
        Some(name) => format!("\0{name}"),
        None => path.to_owned(),
    }
}
