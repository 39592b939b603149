//! What was read and not yet taken. Messages are slices of it, and may be kept for long.

use std::io;
use std::mem;

use bytes::BytesMut;
use selvedge_core::limits::READ_BYTES;

use super::Stream;

/// Room for one read on an idle link; it grows with what comes, up to [`READ_BYTES`].
const READ_MIN: usize = 4 * 1_024;

/// A buffer of which at least this part is not filled is not handed on: what waits for an
/// application holds at most so many times what it counts.
const SPARSE: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: BytesMut,
    /// A larger buffer, for the next read.
    spare: BytesMut,
    /// How much to make room for.
    want: usize,
}

impl Default for ReadBuffer {
    fn default() -> ReadBuffer {
        ReadBuffer { bytes: BytesMut::new(), spare: BytesMut::new(), want: READ_MIN }
    }
}

impl ReadBuffer {
    /// Waits for bytes and appends them; 0 at the end of the stream. Cancel safe.
    pub async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        loop {
            stream.readable().await?;
            self.make_room();
            let room = self.bytes.capacity() - self.bytes.len();
            match stream.try_read(&mut self.bytes) {
                Ok(count) => {
                    self.read(count, room);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What was read: take whole messages from its front, and leave the rest.
    pub fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    fn make_room(&mut self) {
        if self.bytes.capacity() - self.bytes.len() >= self.want {
            return;
        }
        if self.spare.capacity() == 0 {
            return self.bytes.reserve(self.want);
        }
        let mut roomy = mem::take(&mut self.spare);
        roomy.clear();
        roomy.reserve(self.bytes.len() + self.want);
        roomy.extend_from_slice(&self.bytes);
        self.bytes = roomy;
    }

    fn read(&mut self, count: usize, room: usize) {
        if count == room {
            self.want = (self.want * 4).min(READ_BYTES);
        } else if count < self.want / 8 {
            self.want = (self.want / 2).max(READ_MIN);
        }
        if self.bytes.len() < self.bytes.capacity() / SPARSE {
            let exact = BytesMut::from(&self.bytes[..]);
            self.spare = mem::replace(&mut self.bytes, exact);
        }
    }
}
