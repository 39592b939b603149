//! The application of a subscriber: it handles one thing after the other, and its cursor follows.
//!
//! The cursor is two files written in turn, each synced before the next is written, of which the
//! newest whole one counts: a power cut tears at most the one being written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::{Buf, BufMut};
use selvedge_core::subscriber::{Delivery, Lost, Reason};
use selvedge_core::{KeyId, Position};
use selvedge_journal::disk::{Disk, Sim};

const FOLDER: &str = "/cursor";

/// How far it has come in each stream.
pub type Places = BTreeMap<KeyId, Position>;

/// What waits for the application, in order.
#[derive(Debug)]
pub enum Item {
    /// A message of this commit.
    Message(Position, Rc<Delivery>),
    Lost(Lost),
    /// Nothing below is for the application.
    Passed(KeyId, Position),
    Started(KeyId, Position),
}

#[derive(Debug, Default)]
pub struct App {
    pub queue: VecDeque<Item>,
    /// All before it was handled, or declared lost.
    pub places: Places,
    /// What was written last, and whether it is not synced yet.
    saved: Places,
    generation: u64,
    pub writing: bool,
}

impl App {
    /// Goes on where the cursor on this disk stands.
    pub fn open(disk: &Sim) -> App {
        let read = [0, 1].into_iter().filter_map(|slot| decode(&disk.contents(&path(slot))?));
        let (generation, places) = read.max_by_key(|read| read.0).unwrap_or_default();
        App { saved: places.clone(), places, generation, ..App::default() }
    }

    /// Notes that an item was handled.
    pub fn handled(&mut self, item: &Item) {
        match item {
            Item::Message(at, delivery) => self.reach(delivery.key, at.after()),
            // A loss inside a commit comes before the messages beside it.
            Item::Lost(lost) => {
                let place = self.places.get(&lost.key);
                if lost.reason != Reason::Gap && place.is_some_and(|at| lost.from <= *at) {
                    self.reach(lost.key, lost.to);
                }
            }
            Item::Passed(key, upto) | Item::Started(key, upto) => self.reach(*key, *upto),
        }
    }

    fn reach(&mut self, key: KeyId, at: Position) {
        let place = self.places.entry(key).or_default();
        *place = at.max(*place);
    }

    /// Whether there is something to write.
    pub fn moved(&self, places: &Places) -> bool {
        self.saved != *places
    }

    /// Writes the next generation over the older one; it is durable after [`App::sync`].
    pub fn write(&mut self, disk: &Sim, places: &Places) -> io::Result<()> {
        let path = path(self.generation + 1);
        disk.create_folder(Path::new(FOLDER))?;
        let file = match disk.contents(&path) {
            Some(_) => disk.open(&path, true)?,
            None => disk.create(&path)?,
        };
        let bytes = encode(self.generation + 1, places);
        file.write_at(&bytes, 0)?;
        file.truncate(bytes.len() as u64)?;
        self.writing = true;
        self.saved.clone_from(places);
        Ok(())
    }

    /// After an error the next write goes to the same file.
    pub fn sync(&mut self, disk: &Sim) -> io::Result<()> {
        self.writing = false;
        disk.open(&path(self.generation + 1), true)?.sync()?;
        disk.sync_folder(Path::new(FOLDER))?;
        self.generation += 1;
        Ok(())
    }
}

fn path(generation: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("positions.{}", generation % 2))
}

fn encode(generation: u64, places: &Places) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u64_le(generation);
    for (key, at) in places {
        [key.0, at.epoch, at.seq].into_iter().for_each(|number| bytes.put_u64_le(number));
    }
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, Places)> {
    let (mut body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if sum != crc32c::crc32c(body).to_le_bytes() || body.len() % 24 != 8 {
        return None;
    }
    let generation = body.get_u64_le();
    let mut places = Places::new();
    while body.has_remaining() {
        let key = KeyId(body.get_u64_le());
        places.insert(key, Position::new(body.get_u64_le(), body.get_u64_le()));
    }
    Some((generation, places))
}
