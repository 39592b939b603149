//! Memory of packets that were sealed, used again once nobody holds them.
//!
//! Most are gone when the next commit is sealed. A publisher that gave their memory back and asked
//! anew, some hundred KiB each time, had the C library return pages to the kernel and fetch them
//! again: a third of all it did at 1 KiB.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

/// Packets of at least this size have their memory used again: a heap finds room for small ones.
const REUSED: usize = 4 * 1_024;

/// Bytes of packets whose memory is kept for others: what is on its way if peers keep up.
const USED: usize = 1 << 19;

/// See the module.
#[derive(Debug, Default)]
pub struct Used {
    /// Oldest first.
    packets: VecDeque<Bytes>,
    bytes: usize,
}

impl Used {
    /// Room for so many bytes: that of the oldest, if it is free and fits. No packet holds more
    /// than twice what it counts.
    pub(super) fn room(&mut self, bytes: usize) -> Vec<u8> {
        if bytes < REUSED {
            return Vec::with_capacity(bytes);
        }
        let oldest = self.packets.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, Bytes::len);
        match oldest.map(Bytes::try_into_mut) {
            Some(Ok(free)) if (bytes..=2 * bytes).contains(&free.capacity()) => {
                let mut room = Vec::from(free);
                room.clear();
                room
            }
            _ => Vec::with_capacity(bytes),
        }
    }

    /// A packet was made in it.
    pub(super) fn keep(&mut self, packet: &Bytes) {
        if packet.len() >= REUSED && self.bytes < USED {
            self.bytes += packet.len();
            self.packets.push_back(packet.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(used: &mut Used, bytes: usize, byte: u8) -> Bytes {
        let mut room = used.room(bytes);
        assert!(room.is_empty() && room.capacity() >= bytes);
        room.resize(bytes, byte);
        let packet = Bytes::from(room);
        used.keep(&packet);
        packet
    }

    #[test]
    fn memory_that_nobody_holds_is_used_again() {
        let mut used = Used::default();
        let first = packet(&mut used, 10_000, 0).as_ptr() as usize;
        for (byte, bytes) in (1..).zip([9_000, 10_000, 5_000]) {
            assert_eq!(packet(&mut used, bytes, byte).as_ptr() as usize, first, "{bytes}");
        }
    }

    #[test]
    fn what_is_held_is_never_written_to() {
        let mut used = Used::default();
        let mut held = VecDeque::new();
        for byte in 0..200 {
            held.push_back(packet(&mut used, 9_000 + usize::from(byte), byte));
            if held.len() > 5 {
                held.pop_front();
            }
            assert!(held.iter().all(|packet| packet.iter().all(|at| *at == packet[0])));
        }
    }

    #[test]
    fn a_bounded_part_is_kept_and_none_that_is_far_too_large() {
        let mut used = Used::default();
        let held: Vec<Bytes> = (0..100).map(|byte| packet(&mut used, 40_000, byte)).collect();
        assert!(used.bytes < USED + 40_000);
        drop(held);
        assert!(used.room(REUSED).capacity() < 40_000);
    }
}
