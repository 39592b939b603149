//! Sockets: TCP over IPv4 and IPv6, and Unix sockets, behind one type.

mod buffer;
mod listener;
mod stream;

pub(crate) use buffer::ReadBuffer;
pub(crate) use listener::{Accepted, Source};
pub use listener::{BindError, Listener};
pub(crate) use stream::{Progress, Stream, Unwritten, connect};
