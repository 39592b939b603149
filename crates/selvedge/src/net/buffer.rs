//! What was read and not yet taken. Messages are slices of it, and may be kept for long.

use std::collections::VecDeque;
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

/// Full buffers of a busy link that are kept, to be filled again once all that was read into them
/// was dropped: memory that the processor knows, instead of new pages.
const KEPT: usize = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: BytesMut,
    /// What may be filled again, newest first; on a link that is not busy, one.
    spare: VecDeque<BytesMut>,
    /// How much to make room for.
    want: usize,
}

impl Default for ReadBuffer {
    fn default() -> ReadBuffer {
        ReadBuffer { bytes: BytesMut::new(), spare: VecDeque::new(), want: READ_MIN }
    }
}

impl ReadBuffer {
    /// Waits for bytes and appends them; 0 at the end of the stream. Cancel safe.
    pub async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        loop {
            stream.readable().await?;
            if let Some(count) = self.fill_now(stream)? {
                return Ok(count);
            }
        }
    }

    /// Appends the bytes that are there, if any; 0 at the end of the stream.
    pub fn fill_now(&mut self, stream: &Stream) -> io::Result<Option<usize>> {
        self.make_room();
        let room = self.bytes.capacity() - self.bytes.len();
        match stream.try_read(&mut self.bytes) {
            Ok(count) => {
                self.read(count, room);
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was read: take whole messages from its front, and leave the rest.
    pub fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    fn make_room(&mut self) {
        let len = self.bytes.len();
        if self.bytes.capacity() - len >= self.want {
            return;
        }
        // What a message left over is seldom more than a quarter of a read.
        let (least, size) = (len + self.want / 4 * 3, self.want / 4 * 5);
        let used = self.spare.iter_mut().position(|spare| {
            spare.clear();
            spare.try_reclaim(least)
        });
        let used = used.and_then(|at| self.spare.remove(at));
        let mut roomy = used.unwrap_or_else(|| BytesMut::with_capacity(size.max(least)));
        roomy.extend_from_slice(&self.bytes);
        let full = mem::replace(&mut self.bytes, roomy);
        self.keep(full);
    }

    fn read(&mut self, count: usize, room: usize) {
        if count == room {
            self.want = (self.want * 4).min(READ_BYTES);
        } else if count < self.want / 8 {
            self.want = (self.want / 2).max(READ_MIN);
        }
        if self.bytes.len() < self.bytes.capacity() / SPARSE {
            let exact = BytesMut::from(&self.bytes[..]);
            let sparse = mem::replace(&mut self.bytes, exact);
            self.keep(sparse);
        }
    }

    fn keep(&mut self, used: BytesMut) {
        if used.capacity() >= READ_MIN || self.want == READ_BYTES {
            self.spare.push_front(used);
            self.spare.truncate(if self.want == READ_BYTES { KEPT } else { 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Reads as much of `byte` as there is room for, and takes it all.
    fn read(buffer: &mut ReadBuffer, byte: u8) -> Bytes {
        buffer.make_room();
        let room = buffer.bytes.capacity() - buffer.bytes.len();
        buffer.bytes.resize(buffer.bytes.len() + room, byte);
        buffer.read(room, room);
        buffer.bytes.split().freeze()
    }

    fn busy() -> ReadBuffer {
        ReadBuffer { want: READ_BYTES, ..ReadBuffer::default() }
    }

    #[test]
    fn memory_of_what_was_dropped_is_filled_again() {
        let mut buffer = busy();
        let places: std::collections::BTreeSet<usize> =
            (0..100).map(|byte| read(&mut buffer, byte).as_ptr() as usize).collect();
        assert!(places.len() <= 2, "{places:?}");
    }

    #[test]
    fn what_is_held_is_never_written_to() {
        let mut buffer = busy();
        let mut held = VecDeque::new();
        for byte in 0..100 {
            held.push_back((byte, read(&mut buffer, byte)));
            if held.len() > 5 {
                held.pop_front();
            }
            for (byte, bytes) in &held {
                assert!(bytes.len() >= READ_BYTES && bytes.iter().all(|b| b == byte));
            }
        }
        assert!(buffer.spare.len() <= KEPT);
    }

    #[test]
    fn a_link_that_is_not_busy_keeps_little() {
        let mut buffer = busy();
        let held: Vec<Bytes> = (0..20).map(|byte| read(&mut buffer, byte)).collect();
        for _ in 0..10 {
            buffer.make_room();
            buffer.bytes.extend_from_slice(b"a tip");
            buffer.read(5, READ_BYTES);
            buffer.bytes.clear();
        }
        let kept: usize = buffer.spare.iter().map(BytesMut::capacity).sum();
        assert!(buffer.spare.len() <= 1 && kept <= READ_BYTES * 2, "{kept} bytes");
        drop(held);
    }
}
