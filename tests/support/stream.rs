//! A publisher of one stream, made by hand: commits, tips and trusted packets for tests.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;

use bytes::Bytes;
use selvedge_core::directory::Directory;
use selvedge_core::open::{Budget, Context, Trusted, open};
use selvedge_core::seal::{
    Commit, ContentType, Draft, EpochEnd, Group, Header, Identity, Packet, Recent, SecretKey,
    TIP_OFF, Tip, Unsealed,
};
use selvedge_core::wire::Frames;
use selvedge_core::{KeyId, Position, Time, Wall};

/// When everything is said.
pub const WALL: Wall = Wall(1_764_000_000_000_000);

pub struct Voice {
    pub epoch: u64,
    pub next: u64,
    pub commit: u64,
    pub wall: Wall,
    pub ends: Vec<EpochEnd>,
    identity: Identity,
    directory: Directory,
    topics: BTreeMap<String, Recent>,
}

impl Voice {
    pub fn new(epoch: u64) -> Voice {
        let key = SecretKey::from_seed(&[7; 32]);
        let directory = format!(
            "format = 1\nfabric = \"t\"\n[services.web]\nkey = \"{}\"\ntopics = [\"#\"]\n",
            key.public()
        );
        let (fabric, publisher) = ("t".parse().unwrap(), "web".parse().unwrap());
        Voice {
            epoch,
            next: 0,
            commit: 0,
            wall: WALL,
            ends: Vec::new(),
            identity: Identity { fabric, publisher, key },
            directory: Directory::from_text("t.toml", &directory).unwrap(),
            topics: BTreeMap::new(),
        }
    }

    pub fn key(&self) -> KeyId {
        self.identity.key_id()
    }

    pub fn at(&self, seq: u64) -> Position {
        Position::new(self.epoch, seq)
    }

    /// Starts again, in this epoch.
    pub fn restart(&mut self, epoch: u64) {
        (self.epoch, self.next, self.commit) = (epoch, 0, 0);
        self.topics.clear();
    }

    /// Goes on without anyone being told.
    pub fn skip(&mut self, topics: &[&str]) {
        self.say(topics);
    }

    /// One commit: a message for each topic, a packet for each topic that is different.
    pub fn say(&mut self, topics: &[&str]) -> Commit {
        self.say_with(topics, b"said")
    }

    pub fn say_with(&mut self, topics: &[&str], body: &'static [u8]) -> Commit {
        let mut groups: Vec<Group> = Vec::new();
        for (off, topic) in topics.iter().enumerate() {
            let draft = self.draft(topic, ContentType::TEXT, Bytes::from_static(body));
            let seq = self.next + off as u64;
            let last = self.topics.get(*topic).map_or(0, |said| said.tseq);
            let said = Recent { topic: draft.topic.clone(), tseq: last + 1, seq };
            self.topics.insert((*topic).to_owned(), said);
            match groups.iter_mut().find(|group| group.topic == draft.topic) {
                Some(group) => group.messages.push((off as u16, draft)),
                None => groups.push(Group {
                    topic: draft.topic.clone(),
                    tseq: last + 1,
                    messages: vec![(off as u16, draft)],
                }),
            }
        }
        self.seal(topics.len() as u16, groups)
    }

    /// One commit with a packet for each of so many messages of one topic.
    pub fn say_apart(&mut self, topic: &str, count: u16) -> Commit {
        let mut groups = Vec::new();
        for off in 0..count {
            let draft = self.draft(topic, ContentType::TEXT, Bytes::from_static(b"said"));
            let tseq = self.topics.get(topic).map_or(0, |said| said.tseq) + 1;
            let said = Recent { topic: draft.topic.clone(), tseq, seq: self.next + u64::from(off) };
            self.topics.insert(topic.to_owned(), said);
            groups.push(Group { topic: draft.topic.clone(), tseq, messages: vec![(off, draft)] });
        }
        self.seal(count, groups)
    }

    /// A tip that holds nothing: its `oldest` is its `next`.
    pub fn tip(&mut self) -> Commit {
        self.tip_with(|_| {})
    }

    pub fn tip_with(&mut self, change: impl FnOnce(&mut Tip)) -> Commit {
        let mut recent: Vec<Recent> = self.topics.values().cloned().collect();
        recent.sort_by_key(|said| std::cmp::Reverse(said.seq));
        let mut tip = Tip {
            next: self.next,
            oldest: self.at(self.next),
            epochs: self.ends.clone(),
            voids: Vec::new(),
            recent,
            more: false,
        };
        change(&mut tip);
        self.raw_tip(tip.encode().into())
    }

    pub fn raw_tip(&mut self, body: Bytes) -> Commit {
        let draft = self.draft("$tip.web", ContentType::TIP, body);
        let topic = draft.topic.clone();
        self.seal(0, vec![Group { topic, tseq: 0, messages: vec![(TIP_OFF, draft)] }])
    }

    fn draft(&self, topic: &str, ctype: ContentType, body: Bytes) -> Draft {
        Draft {
            topic: topic.parse().unwrap(),
            ctype,
            time: self.wall,
            extension: Bytes::new(),
            body,
        }
    }

    pub fn seal(&mut self, n: u16, groups: Vec<Group>) -> Commit {
        let header = Header {
            key: self.key(),
            epoch: self.epoch,
            commit: self.commit,
            first: self.next,
            time: self.wall,
            n,
            m: groups.len() as u16,
        };
        self.next += u64::from(n);
        self.commit += 1;
        Unsealed { header, groups }.seal(&self.identity, &mut Default::default())
    }

    /// A packet of a commit, as it comes through the door.
    pub fn trusted(&self, commit: &Commit, index: usize) -> Trusted {
        let wire = Bytes::from(commit.packets[index].wire.concat());
        let packet = Packet::parse(Frames::parse(wire).unwrap()).unwrap();
        let directory = &self.directory;
        let cx = Context { directory, horizon: None, cached: None, now: Time(0) };
        open(packet, &cx, &mut Budget::default()).unwrap().trusted
    }

    /// All packets of a commit whose topics start like this.
    pub fn matching(&self, commit: &Commit, prefix: &str) -> Vec<Trusted> {
        let indices = 0..commit.packets.len();
        let matches = |i: &usize| commit.packets[*i].topic.as_str().starts_with(prefix);
        indices.filter(matches).map(|i| self.trusted(commit, i)).collect()
    }
}
