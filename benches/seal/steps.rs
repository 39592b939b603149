//! What a core does with commits, step by step, on either side: their bodies have 256 bytes.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::{Bytes, BytesMut};
use selvedge_core::author::{self, Author, Input, Output};
use selvedge_core::directory::Directory;
use selvedge_core::limits::PACK;
use selvedge_core::open::{
    self, Budget, Cache, Checked, CommitId, Hashed, Refusal, Trusted, Verified,
};
use selvedge_core::seal::{
    Commit, ContentType, Draft, Identity, Packet, SecretKey, Unsealed, Used,
};
use selvedge_core::topic::Topic;
use selvedge_core::wire::{self, Connection, Event, Frames, Limits, Role};
use selvedge_core::{Now, Time, Wall};

/// Bytes of a body.
pub const BODY: usize = 256;

/// Of all commits.
pub const EPOCH: u64 = 1;

/// How many messages a commit has, and of how many topics.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub messages: u16,
    pub topics: u16,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { messages, topics } = self;
        write!(f, "{messages} of {topics} topic{}", if *topics == 1 { "" } else { "s" })
    }
}

/// Makes commits of one shape.
pub struct Sealing {
    identity: Identity,
    used: RefCell<Used>,
    /// One of them; the others have the same messages.
    commit: Unsealed,
}

impl Sealing {
    pub fn new(shape: Shape) -> Result<Sealing> {
        let key = SecretKey::from_seed(&[7; 32]);
        let identity = Identity { fabric: "bench".parse()?, publisher: "bench".parse()?, key };
        let commit = commit(shape, &identity)?;
        Ok(Sealing { identity, used: RefCell::default(), commit })
    }

    /// Who verifies these commits.
    pub fn opening(&self) -> Result<Opening> {
        let text = format!(
            "format = 1\nfabric = \"bench\"\n[services.bench]\n\
             endpoint = \"tcp://127.0.0.1:9940\"\nkey = \"{}\"\ntopics = [\"org.example.bench.#\"]",
            self.identity.key.public()
        );
        let directory = Directory::from_text("endpoints.toml", &text);
        let directory = Arc::new(directory.map_err(|problems| anyhow!("{problems:?}"))?);
        Ok(Opening { directory, budget: Budget::default(), cache: Cache::default() })
    }

    /// Commit number `commit` before it is sealed.
    pub fn unsealed(&self, commit: u64) -> Unsealed {
        let mut header = self.commit.header;
        header.first += commit * u64::from(header.n);
        header.commit += commit;
        Unsealed { header, groups: self.commit.groups.clone() }
    }

    /// Hashes, signs, and encodes for the wire.
    pub fn seal(&self, commit: Unsealed) -> Commit {
        commit.seal(&self.identity, &mut self.used.borrow_mut())
    }

    /// Commit number `commit` as a link reads it.
    pub fn read(&self, commit: u64) -> BytesMut {
        let mut read = BytesMut::new();
        for packet in self.seal(self.unsealed(commit)).packets {
            packet.wire.iter().for_each(|bytes| read.extend_from_slice(bytes));
        }
        read
    }
}

/// What an author makes of the messages; the topics take turns.
fn commit(shape: Shape, identity: &Identity) -> Result<Unsealed> {
    let mut author = Author::new(author::Config {
        key: identity.key_id(),
        publisher: identity.publisher.clone(),
        epoch: EPOCH,
        earlier: Vec::new(),
        oldest: None,
        voids: Vec::new(),
        pack: PACK,
        jitter: 0,
    });
    let topics = (0..shape.topics).map(|at| format!("org.example.bench.item{at}").parse());
    let topics = topics.collect::<Result<Vec<Topic>, _>>()?;
    let turns = topics.iter().cycle().take(shape.messages.into());
    let drafts = turns.enumerate().map(|(at, topic)| Draft {
        topic: topic.clone(),
        ctype: ContentType::BYTES,
        time: Wall(1),
        extension: Bytes::new(),
        body: Bytes::from(vec![at as u8; BODY]),
    });
    let (now, mut out) = (Now { time: Time(0), wall: Wall(1) }, Vec::new());
    author.handle(now, Input::Drafts(drafts.collect()), &mut out);
    match out.swap_remove(0) {
        Output::Seal(unsealed) if unsealed.header.n == shape.messages => Ok(unsealed),
        other => Err(anyhow!("not one commit of all: {other:?}")),
    }
}

/// A subscriber's side of a connection on which both have shaken hands.
pub struct Decoding {
    connection: Connection,
    events: Vec<Event>,
}

impl Decoding {
    pub fn new() -> Result<Decoding> {
        let mut connection = Connection::new(Role::Subscriber, Limits::default());
        let hello = [&wire::greeting()[..], &wire::ready(Role::Publisher)].concat();
        let mut events = Vec::new();
        connection.handle(&mut BytesMut::from(&hello[..]), &mut events)?;
        events.clear();
        Ok(Decoding { connection, events })
    }

    /// Cuts packets out of what was read.
    pub fn decode(&mut self, mut read: BytesMut) -> Result<Vec<Frames>> {
        self.connection.handle(&mut read, &mut self.events)?;
        let frames = self.events.drain(..).map(|event| match event {
            Event::Message(frames) => Ok(frames),
            other => Err(anyhow!("a message, not {other:?}")),
        });
        frames.collect()
    }
}

/// A subscriber's door.
pub struct Opening {
    directory: Arc<Directory>,
    budget: Budget,
    cache: Cache,
}

impl Opening {
    /// Verifies the packets of a commit, together as a link does.
    pub fn open(&mut self, packets: Vec<Frames>) -> Result<Vec<Trusted>> {
        let Opening { directory, budget, cache } = self;
        let mut check = |frames: Frames| {
            let packet = Packet::parse(frames)?;
            open::check(packet, &context(directory, None), budget)
        };
        let checked: Vec<Result<Checked, Refusal>> = packets.into_iter().map(&mut check).collect();
        let verify = |hashed: Result<Hashed, Refusal>| {
            let hashed = hashed?;
            let cached = cache.find(CommitId::of(hashed.packet())).copied();
            let opened = hashed.verify(&context(directory, cached.as_ref()), budget)?;
            opened.verified.into_iter().for_each(|verified| cache.insert(verified));
            Ok(opened.trusted)
        };
        open::hash(checked).map(verify).collect()
    }
}

fn context<'a>(directory: &'a Directory, cached: Option<&'a Verified>) -> open::Context<'a> {
    open::Context { directory, horizon: None, cached, now: Time(0) }
}
