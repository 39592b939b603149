//! Where there are no instructions for sixteen inputs at once.

use crate::Block;

/// How many inputs are hashed at once.
pub const LANES: usize = 16;

/// Never: no such instructions.
#[derive(Clone, Copy, Debug)]
pub enum Wide {}

impl Wide {
    pub fn detected() -> Option<Wide> {
        None
    }

    pub fn pays_from(self) -> usize {
        match self {}
    }

    pub fn compress(self, _: &mut [[u32; LANES]; 8], _: [&[Block]; LANES]) {
        match self {}
    }
}
