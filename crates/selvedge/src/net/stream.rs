//! A connected socket that may be read and written without being owned.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use selvedge_core::directory::Endpoint;
use selvedge_core::limits::{HANDSHAKE, STALLED};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

/// An idle connection is probed every second.
const KEEPALIVE: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long bytes and probes may stay unacknowledged before whoever dialled takes the other host
/// for dead. Linux lets this overrule the number of probes, and counts a reader that pauses (a
/// closed window) against it: whoever dialled writes next to nothing, so he is never waited for.
const UNANSWERED: Duration = Duration::from_secs(3);

/// How long dialling one name may take: what remains of [`HANDSHAKE`] is for the handshake.
const DIAL: Duration = HANDSHAKE.saturating_sub(Duration::from_secs(1));

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// A TCP socket that was accepted. A subscriber may pause for as long as [`STALLED`].
    pub fn accepted(socket: TcpStream) -> io::Result<Stream> {
        Stream::tcp(socket, STALLED)
    }

    fn tcp(socket: TcpStream, unanswered: Duration) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        options.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
        options.set_tcp_user_timeout(Some(unanswered))?;
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
            let addresses = tokio::net::lookup_host((host.as_str(), *port)).await?;
            Stream::tcp(dial(&addresses.collect::<Vec<_>>()).await?, UNANSWERED)
        }
    }
}

/// Tries each address in turn. One that does not answer, as where IPv6 leads nowhere, leaves the
/// others their share of the time.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let share = DIAL / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(io::ErrorKind::TimedOut, format!("{address}: no answer"))
            }
        }
    }
    Err(last)
}

/// `@name` stands for Linux's abstract namespace, which begins with a NUL.
pub(super) fn socket_path(path: &str) -> String {
    match path.strip_prefix('@') {
        Some(name) => format!("\0{name}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    /// An address that answers nobody: its backlog is full. With what keeps it so.
    async fn black_hole() -> (SocketAddr, Socket, Vec<TcpStream>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        let filling = Duration::from_millis(100);
        while let Ok(Ok(stream)) = tokio::time::timeout(filling, TcpStream::connect(address)).await
        {
            waiting.push(stream);
        }
        (address, socket, waiting)
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let (dead, _socket, _waiting) = black_hole().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let addresses = [dead, live];
        let reached = tokio::time::timeout(HANDSHAKE, dial(&addresses)).await;
        assert_eq!(reached.unwrap().unwrap().peer_addr().unwrap(), live);
        assert!(dial(&[]).await.unwrap_err().to_string().contains("no address"));
    }

    /// D3: Linux takes a host for dead when this has passed, whatever the number of probes.
    #[tokio::test]
    async fn d3_whoever_dialled_notices_a_dead_host_within_four_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".into(), port };
        let (dialled, accepted) = tokio::join!(connect(&endpoint), listener.accept());
        let accepted = Stream::accepted(accepted.unwrap().0).unwrap();
        let timeout = |stream: &Stream| match stream {
            Stream::Tcp(socket) => SockRef::from(socket).tcp_user_timeout().unwrap(),
            Stream::Unix(_) => None,
        };
        assert_eq!(timeout(&dialled.unwrap()), Some(UNANSWERED));
        assert!(KEEPALIVE + UNANSWERED <= Duration::from_secs(4));
        assert_eq!(timeout(&accepted), Some(STALLED));
    }
}
