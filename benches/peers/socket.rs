//! Plain blocking sockets of either transport.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::measure::SILENCE;
use crate::peer::Place;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens there; the endpoint to connect to.
pub fn listen(place: &Place) -> Result<(Socket, String)> {
    let (address, domain) = address(&place.endpoint("0"))?;
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    let endpoint = match socket.local_addr()?.as_socket() {
        Some(address) => place.endpoint(&address.port().to_string()),
        None => place.endpoint(""),
    };
    Ok((socket, endpoint))
}

/// Connects; reads and writes that take longer than [`SILENCE`] fail.
pub fn connect(endpoint: &str) -> Result<Socket> {
    let (address, domain) = address(endpoint)?;
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect(&address)?;
    tune(socket)
}

/// The next connection, as [`connect`] would make it.
pub fn accept(listener: &Socket) -> Result<Socket> {
    tune(listener.accept()?.0)
}

fn tune(socket: Socket) -> Result<Socket> {
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))?;
    if socket.local_addr()?.as_socket().is_some() {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(socket)
}

fn address(endpoint: &str) -> Result<(SockAddr, Domain)> {
    match endpoint.split_once("://").context("an endpoint without a transport")? {
        ("ipc", path) => Ok((SockAddr::unix(path)?, Domain::UNIX)),
        (_, address) => Ok((address.parse::<SocketAddr>()?.into(), Domain::IPV4)),
    }
}
