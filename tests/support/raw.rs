//! A peer made of raw bytes on a TCP socket: it may say anything.
#![allow(dead_code, reason = "no test uses all of it")]

use std::net::{Ipv4Addr, SocketAddr};

use selvedge_core::wire::{self, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::fabric::soon;

/// `ZMTP`'s greeting, and a READY of a subscriber without X-Selvedge.
const STRANGER: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";

pub struct Raw(pub TcpStream);

impl Raw {
    /// Connects from 127.0.0.1.
    pub async fn connect(to: SocketAddr) -> Raw {
        Raw(soon("a connection", TcpStream::connect(to)).await.unwrap())
    }

    /// Connects from 127.0.0.`host`.
    pub async fn connect_from(host: u8, to: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).unwrap();
        Raw(soon("a connection", socket.connect(to)).await.unwrap())
    }

    /// Takes the next connection.
    pub async fn accept(listener: &TcpListener) -> Raw {
        Raw(soon("a connection", listener.accept()).await.unwrap().0)
    }

    /// Shakes hands with a publisher, as a Selvedge subscriber or not.
    pub async fn subscriber(to: SocketAddr, selvedge: bool) -> Raw {
        let mut raw = Raw::connect(to).await;
        raw.shake_hands(selvedge).await;
        raw
    }

    /// The subscriber's side of a handshake.
    pub async fn shake_hands(&mut self, selvedge: bool) {
        self.send(&wire::greeting()).await;
        let ready = wire::ready(Role::Subscriber);
        self.send(if selvedge { &ready } else { STRANGER }).await;
        self.take(64).await;
        self.frame().await;
    }

    /// Shakes hands with a subscriber that connected.
    pub async fn greet(&mut self) {
        self.send(&wire::greeting()).await;
        self.send(&wire::ready(Role::Publisher)).await;
        self.take(64).await;
        self.frame().await;
    }

    /// Sends what it can: the other side may have hung up.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        soon("room to write", self.0.write_all(bytes)).await.is_ok()
    }

    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        soon("bytes", self.0.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    /// The flags and body of the next frame.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let flags = self.take(1).await[0];
        let len = match flags & 2 {
            0 => usize::from(self.take(1).await[0]),
            _ => u64::from_be_bytes(self.take(8).await.try_into().unwrap()) as usize,
        };
        (flags, self.take(len).await)
    }

    /// Waits until the other side hangs up, whatever it says before.
    pub async fn closed(&mut self) {
        let mut bytes = vec![0; 64 * 1_024];
        let end = async { while matches!(self.0.read(&mut bytes).await, Ok(1..)) {} };
        soon("the other side to hang up", end).await;
    }

    /// Whether the other side has hung up.
    pub fn is_closed(&self) -> bool {
        let mut bytes = [0; 4 * 1_024];
        loop {
            match self.0.try_read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// The first 9 bytes of a frame of 2^62 bytes.
pub fn giant(flags: u8) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[0] = flags | 2;
    bytes[1..].copy_from_slice(&(1u64 << 62).to_be_bytes());
    bytes
}

/// Bytes without any meaning, the same for the same `seed`.
pub fn garbage(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let byte = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(byte).take(count).collect()
}
