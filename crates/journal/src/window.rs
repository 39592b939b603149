//! Reading a file from front to back in large pieces, here and there looking ahead.

use std::fmt;
use std::sync::Arc;

use crate::disk::File;

/// Bytes that are read at once.
const AHEAD: usize = 1 << 20;
/// What is given up where the disk cannot read: a page.
const UNREADABLE: usize = 4096;

/// A piece of a file, held in memory. What the disk cannot read, it shows as zeroes.
pub(crate) struct Window {
    file: Arc<dyn File>,
    limit: u64,
    start: u64,
    bytes: Vec<u8>,
    unreadable: bool,
}

impl Window {
    /// Looks at the file's bytes below `limit`.
    pub fn new(file: Arc<dyn File>, limit: u64) -> Window {
        Window { file, limit, start: 0, bytes: Vec::new(), unreadable: false }
    }

    /// Where what can be seen ends.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the disk could not read some of what was asked for so far.
    pub fn unreadable(&self) -> bool {
        self.unreadable
    }

    /// `len` bytes at `offset`, fewer only at the limit.
    pub fn at(&mut self, offset: u64, len: usize) -> &[u8] {
        let len = len.min(self.limit.saturating_sub(offset).try_into().unwrap_or(usize::MAX));
        let seen = self.start..=self.start + self.bytes.len() as u64;
        if !(seen.contains(&offset) && seen.contains(&(offset + len as u64))) {
            self.fill(offset, len.max(AHEAD));
        }
        let begin = (offset - self.start) as usize;
        let rest = self.bytes.get(begin..).unwrap_or_default();
        &rest[..len.min(rest.len())]
    }

    fn fill(&mut self, offset: u64, len: usize) {
        let len = len.min(self.limit.saturating_sub(offset).try_into().unwrap_or(usize::MAX));
        self.start = offset;
        self.bytes.clear();
        if self.file.read_at(&mut self.bytes, len, offset).is_ok() {
            return;
        }
        while self.bytes.len() < len {
            let piece = UNREADABLE.min(len - self.bytes.len());
            let at = offset + self.bytes.len() as u64;
            match self.file.read_at(&mut self.bytes, piece, at) {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => {
                    self.unreadable = true;
                    self.bytes.resize(self.bytes.len() + piece, 0);
                }
            }
        }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("file", &self.file).finish_non_exhaustive()
    }
}
