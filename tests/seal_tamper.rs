//! Does anything pass the door that its key did not say, in this fabric, under this name?

use bytes::Bytes;
use selvedge_core::directory::Directory;
use selvedge_core::limits::{
    BAD_SEALS, BODIES, COMMIT_MESSAGES, EXTENSION_BYTES, MUTED, SEAL_BYTES, VERIFIED_COMMITS,
};
use selvedge_core::open::{Blame, Budget, Cache, CommitId, Context, Opened, Refusal, open};
use selvedge_core::seal::{
    BadKey, Commit, ContentType, Draft, Foreign, Group, Header, Identity, Malformed, Packet,
    PublicKey, SecretKey, TIP_OFF, Unsealed,
};
use selvedge_core::topic::BadTopic;
use selvedge_core::wire::{Frames, put_frame};
use selvedge_core::{Position, Time, Wall};

const EPOCH: u64 = 1_764_000_000_000_000;

/// Where things stand in the seal of a packet.
const EPOCH_AT: usize = 12;
const COMMIT_AT: usize = 20;
const FIRST_AT: usize = 28;
const N_AT: usize = 44;
const M_AT: usize = 46;
const SIGNATURE_AT: usize = 48;
const INDEX_AT: usize = 112;
const K_AT: usize = 114;
const FLAGS_AT: usize = 115;
const PROOF_AT: usize = 116;

// ---- what is said ------------------------------------------------------------------------------

fn identity() -> Identity {
    Identity {
        fabric: "stg".parse().unwrap(),
        publisher: "web".parse().unwrap(),
        key: SecretKey::from_seed(&[1; 32]),
    }
}

fn directory(fabric: &str, rest: &str) -> Directory {
    let text = format!("format = 1\nfabric = \"{fabric}\"\n{rest}");
    Directory::from_text("endpoints.toml", &text).unwrap()
}

fn service(name: &str, seed: u8, topics: &str) -> String {
    let key = SecretKey::from_seed(&[seed; 32]).public();
    format!("[services.{name}]\nkey = \"{key}\"\ntopics = [\"{topics}\"]\n")
}

fn known() -> Directory {
    directory("stg", &service("web", 1, "a.#"))
}

fn header(n: u16, m: u16) -> Header {
    let key = identity().key.public().id();
    Header { key, epoch: EPOCH, commit: 3, first: 10, time: Wall(EPOCH), n, m }
}

fn group(topic: &str, messages: &[(u16, &str)]) -> Group {
    let draft = |body: &str| Draft {
        topic: topic.parse().unwrap(),
        ctype: ContentType::TEXT,
        time: Wall(EPOCH),
        extension: Bytes::from_static(b"\x80"),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    let messages = messages.iter().map(|(off, body)| (*off, draft(body))).collect();
    Group { topic: topic.parse().unwrap(), tseq: 7, messages }
}

/// A commit of four numbers in three packets; the middle one has two of them.
fn commit() -> Commit {
    let groups = vec![
        group("a.x", &[(0, "zero")]),
        group("a.y", &[(1, "one"), (2, "two")]),
        group("a.z", &[(3, "three")]),
    ];
    Unsealed { header: header(4, 3), groups }.seal(&identity(), &mut Default::default())
}

/// The frames of a packet, to be changed.
#[derive(Clone)]
struct Raw(Vec<Vec<u8>>);

impl Raw {
    fn of(commit: &Commit, index: usize) -> Raw {
        let wire = Bytes::from(commit.packets[index].wire.concat());
        let frames = Frames::parse(wire).unwrap();
        Raw((0..frames.len()).map(|i| frames.part(i).to_vec()).collect())
    }

    /// The packet with two bodies.
    fn middle() -> Raw {
        Raw::of(&commit(), 1)
    }

    fn seal(&mut self) -> &mut Vec<u8> {
        &mut self.0[1]
    }

    /// Where the head begins.
    fn head(&self) -> usize {
        PROOF_AT + 32 * usize::from(self.0[1][K_AT])
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Raw {
        self.seal()[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn put_head(self, at: usize, bytes: &[u8]) -> Raw {
        let head = self.head();
        self.put(head + at, bytes)
    }

    fn flipped(mut self, frame: usize, bit: usize) -> Raw {
        self.0[frame][bit / 8] ^= 1 << (bit % 8);
        self
    }

    fn parse(&self) -> Result<Packet, Malformed> {
        let mut wire = Vec::new();
        for (at, part) in self.0.iter().enumerate() {
            put_frame(&mut wire, part, at + 1 < self.0.len());
        }
        Packet::parse(Frames::parse(wire.into()).unwrap())
    }
}

// ---- the door ----------------------------------------------------------------------------------

/// One who opens: a directory, a cache and a budget.
struct Door {
    directory: Directory,
    horizon: Option<Position>,
    cache: Cache,
    budget: Budget,
    now: Time,
}

impl Door {
    fn new(directory: Directory) -> Door {
        let (cache, budget) = (Cache::default(), Budget::default());
        Door { directory, horizon: None, cache, budget, now: Time(0) }
    }

    /// A door through which the whole commit went before.
    fn warm() -> Door {
        let mut door = Door::new(known());
        (0..3).for_each(|index| drop(door.open(&Raw::of(&commit(), index)).unwrap()));
        door
    }

    fn open(&mut self, raw: &Raw) -> Result<Opened, Refusal> {
        let packet = raw.parse()?;
        let cached = self.cache.find(CommitId::of(&packet));
        let (directory, horizon, now) = (&self.directory, self.horizon, self.now);
        let opened = open(packet, &Context { directory, horizon, cached, now }, &mut self.budget)?;
        if let Some(verified) = opened.verified {
            self.cache.insert(verified);
        }
        Ok(opened)
    }

    fn refusal(&mut self, raw: &Raw) -> Refusal {
        self.open(raw).map(drop).unwrap_err()
    }
}

#[test]
fn what_was_said_passes_cold_and_warm_and_costs_one_signature() {
    let mut door = Door::new(known());
    for round in 0..2 {
        for index in 0..3 {
            let opened = door.open(&Raw::of(&commit(), index)).unwrap();
            assert_eq!(opened.verified.is_some(), round == 0 && index == 0);
            assert!(!opened.fork);
        }
    }
}

#[test]
fn no_bit_of_a_packet_can_change() {
    let good = Raw::middle();
    let (mut cold, mut warm) = (Door::new(known()), Door::warm());
    assert!(cold.open(&good).is_ok() && warm.open(&good).is_ok());
    for frame in 0..good.0.len() {
        for bit in 0..8 * good.0[frame].len() {
            let bad = good.clone().flipped(frame, bit);
            (cold.cache, cold.budget) = Default::default();
            warm.budget = Budget::default();
            assert!(cold.open(&bad).is_err(), "frame {frame}, bit {bit}, cold");
            assert!(warm.open(&bad).is_err(), "frame {frame}, bit {bit}, warm");
        }
    }
}

#[test]
fn bodies_cannot_be_added_left_out_or_exchanged() {
    let good = Raw::middle();
    for mut door in [Door::new(known()), Door::warm()] {
        let mut more = good.clone();
        more.0.push(b"more".to_vec());
        assert_eq!(door.refusal(&more), Malformed::Count.into());
        let mut fewer = good.clone();
        fewer.0.pop();
        assert_eq!(door.refusal(&fewer), Malformed::Count.into());
        let mut exchanged = good.clone();
        exchanged.0.swap(2, 3);
        assert!(matches!(door.refusal(&exchanged), Refusal::BadProof | Refusal::BadSignature));
        let mut moved = good.clone(); // the same bytes in all, cut elsewhere
        let cut = moved.0[2].pop().unwrap();
        moved.0[3].insert(0, cut);
        assert_eq!(door.refusal(&moved), Malformed::BodyLength.into());
    }
}

#[test]
fn a_seal_fits_no_other_packet_of_its_commit() {
    let (x, z) = (Raw::of(&commit(), 0), Raw::of(&commit(), 2));
    for mut door in [Door::new(known()), Door::warm()] {
        let mut crossed = x.clone();
        crossed.0[1] = z.0[1].clone();
        assert_eq!(door.refusal(&crossed), Malformed::BodyLength.into());
        let mut renamed = x.clone();
        renamed.0[0] = b"a.z".to_vec();
        assert!(matches!(door.refusal(&renamed), Refusal::BadProof | Refusal::BadSignature));
    }
}

#[test]
fn a_message_does_not_move_to_another_fabric_or_name() {
    for elsewhere in [
        directory("prd", &service("web", 1, "a.#")),
        directory("stg", &service("web2", 1, "a.#")),
        directory("stgw", &service("eb", 1, "a.#")), // the same letters in all
    ] {
        assert_eq!(Door::new(elsewhere).refusal(&Raw::middle()), Refusal::BadSignature);
    }
}

// ---- structure ---------------------------------------------------------------------------------

/// A head of one entry and its body, on a seal without proof.
fn single(topic: &str, header: &Header, tseq: u64, off: u16, ctype: u16, extension: usize) -> Raw {
    let mut seal = header.encode().to_vec();
    seal.extend_from_slice(&[0; 64 + 4]);
    seal.extend_from_slice(&1u16.to_le_bytes());
    seal.extend_from_slice(&tseq.to_le_bytes());
    seal.extend_from_slice(&off.to_le_bytes());
    seal.extend_from_slice(&ctype.to_le_bytes());
    seal.extend_from_slice(&(extension as u16).to_le_bytes());
    seal.extend_from_slice(&4u32.to_le_bytes());
    seal.extend_from_slice(&EPOCH.to_le_bytes());
    seal.resize(seal.len() + extension, b'e');
    Raw(vec![topic.into(), seal, b"body".to_vec()])
}

fn malformed(raw: Raw) -> Malformed {
    raw.parse().map(drop).unwrap_err()
}

#[test]
fn each_rule_of_structure_has_its_own_refusal() {
    let good = Raw::middle();
    let flat = |frames: &[&[u8]]| Raw(frames.iter().map(|frame| frame.to_vec()).collect());
    let mut many = good.clone();
    many.0.resize(2 + BODIES, vec![]);
    assert_eq!(malformed(many), Malformed::Count);
    for (raw, why) in [
        (flat(&[b"a"]), Malformed::Frames),
        (flat(&[b"a", b"seal"]), Malformed::Frames),
        (flat(&[b"a..b", b"", b""]), Malformed::Topic(BadTopic::EmptySegment)),
        (flat(&[b"a\0", b"", b""]), Malformed::Topic(BadTopic::Byte { at: 1 })),
        (flat(&[b"a", b"", b""]), Malformed::SealLength),
        (flat(&[b"a", &[0; PROOF_AT - 1], b""]), Malformed::SealLength),
        (flat(&[b"a", &vec![0; SEAL_BYTES + 1], b""]), Malformed::SealLength),
        (good.clone().put(0, b"SW"), Malformed::Format(Foreign::Magic)),
        (good.clone().put(2, &[2]), Malformed::Format(Foreign::Version)),
        (good.clone().put(3, &[2]), Malformed::Format(Foreign::Suite)),
        (good.clone().put(FLAGS_AT, &[1]), Malformed::Flags),
        (good.clone().put_head(0, &[1, 0]), Malformed::Count),
        (good.clone().put_head(0, &[3, 0]), Malformed::Count),
        (good.clone().put_head(10, &[2, 0]), Malformed::Offset),
        (good.clone().put_head(10, &[3, 0]), Malformed::Offset),
        (good.clone().put_head(10 + 19, &[4, 0]), Malformed::Offset),
        (good.clone().put_head(10 + 6, &[4, 0, 0, 0]), Malformed::BodyLength),
        (good.clone().put_head(10 + 6, &[3, 0, 0, 1]), Malformed::BodyLength),
        (good.clone().put_head(10 + 4, &[0xff, 0xff]), Malformed::HeadLength),
        (good.clone().put_head(2, &(u64::MAX - 1).to_le_bytes()), Malformed::Overflow),
        (good.clone().put(COMMIT_AT, &[0xff; 8]), Malformed::Overflow),
        (good.clone().put(FIRST_AT, &(u64::MAX - 3).to_le_bytes()), Malformed::Overflow),
    ] {
        assert_eq!(malformed(raw), why);
    }
    let mut long = good.clone();
    long.seal().push(0);
    assert_eq!(malformed(long), Malformed::HeadLength);
    let mut short = good;
    short.seal().pop();
    assert_eq!(malformed(short), Malformed::HeadLength);
}

#[test]
fn the_largest_numbers_are_still_numbers() {
    let good = Raw::middle();
    for raw in [
        good.clone().put_head(2, &(u64::MAX - 2).to_le_bytes()),
        good.clone().put(COMMIT_AT, &(u64::MAX - 1).to_le_bytes()),
        good.clone().put(FIRST_AT, &(u64::MAX - 4).to_le_bytes()),
        good.clone().put(EPOCH_AT, &[0xff; 8]),
    ] {
        assert!(raw.parse().is_ok());
    }
    let last = good.put(FIRST_AT, &(u64::MAX - 4).to_le_bytes()).parse().unwrap();
    assert_eq!(last.last().seq, u64::MAX - 2);
}

#[test]
fn counts_index_and_proof_must_describe_one_tree() {
    let number = |n: usize| (n as u16).to_le_bytes();
    for (n, m, why) in [
        (4, 0, Malformed::Counts),
        (4, 6, Malformed::Counts),
        (4, u16::MAX.into(), Malformed::Counts),
        (COMMIT_MESSAGES + 1, 3, Malformed::Counts),
        (u16::MAX.into(), 3, Malformed::Counts),
        (4, 1, Malformed::Proof),  // the index is outside
        (4, 5, Malformed::Proof),  // needs three siblings
        (2, 3, Malformed::Offset), // an offset is outside
    ] {
        let raw = Raw::middle().put(N_AT, &number(n)).put(M_AT, &number(m));
        assert_eq!(malformed(raw), why, "n = {n}, m = {m}");
    }
    for (index, siblings, why) in [
        (3, 2, Malformed::Proof),
        (u16::MAX.into(), 2, Malformed::Proof),
        (2, 2, Malformed::Proof), // the last of three needs one
        (1, 1, Malformed::Proof),
        (1, 3, Malformed::Proof),
        (1, 0, Malformed::Proof),
        (1, 255, Malformed::Proof),
    ] {
        let raw = Raw::middle().put(INDEX_AT, &number(index)).put(K_AT, &[siblings]);
        assert_eq!(malformed(raw), why, "index {index}, k = {siblings}");
    }
}

#[test]
fn topic_type_offset_count_and_tseq_of_a_tip_go_together() {
    let (tip, text) = (ContentType::TIP.0, ContentType::TEXT.0);
    let none = header(0, 1);
    assert!(single("$tip.web", &none, 0, TIP_OFF, tip, 0).parse().unwrap().is_tip());
    assert!(single("$tip.web", &header(4, 1), 0, TIP_OFF, tip, 0).parse().is_ok());
    assert!(single("a", &header(1, 1), 1, 0, text, 0).parse().is_ok());
    for raw in [
        single("$tip.web", &none, 1, TIP_OFF, tip, 0),
        single("$tip.web", &none, 0, 0, tip, 0),
        single("$tip.web", &none, 0, TIP_OFF, text, 0),
        single("$tip.web", &header(1, 1), 0, 0, text, 0),
        single("a", &header(1, 1), 0, TIP_OFF, tip, 0),
        single("a", &header(1, 1), 0, 0, tip, 0),
        single("$state.web", &none, 0, TIP_OFF, tip, 0),
    ] {
        assert_eq!(malformed(raw), Malformed::Tip);
    }
    assert_eq!(malformed(single("a", &header(1, 1), 0, TIP_OFF, text, 0)), Malformed::Tip);
    assert_eq!(malformed(single("a", &header(0, 1), 0, 0, text, 0)), Malformed::Offset);
    let mut two = single("$tip.web", &none, 0, TIP_OFF, tip, 0);
    two.0.push(b"body".to_vec());
    let entry = two.0[1][PROOF_AT + 10..].to_vec();
    two.0[1].extend_from_slice(&entry);
    assert_eq!(malformed(two.put_head(0, &[2, 0])), Malformed::Tip);
}

#[test]
fn an_extension_has_at_most_1024_bytes() {
    let of = |bytes: usize| single("a", &header(1, 1), 1, 0, 0, bytes);
    assert!(of(EXTENSION_BYTES).parse().is_ok());
    assert_eq!(malformed(of(EXTENSION_BYTES + 1)), Malformed::Extension);
}

// ---- who may say what --------------------------------------------------------------------------

#[test]
fn each_refusal_is_reached_from_cheap_to_dear() {
    // Everything is wrong with this packet; each step mends what was refused first.
    let mut bad = Raw::middle().put(FLAGS_AT, &[1]);
    let seal_of_other = SecretKey::from_seed(&[2; 32]).public().id().0.to_le_bytes();
    bad = bad.put(4, &seal_of_other).put(SIGNATURE_AT, &[9; 64]);
    let revoked = SecretKey::from_seed(&[2; 32]).public().id();
    let both = service("web", 1, "a.x") + &service("other", 2, "b.#");
    let mut door = Door::new(known());
    assert_eq!(door.refusal(&bad), Malformed::Flags.into());
    bad = bad.put(FLAGS_AT, &[0]);
    assert_eq!(door.refusal(&bad), Refusal::UnknownKey);
    door.directory = directory("stg", &format!("{both}[revoked]\nkeys = [\"{revoked}\"]\n"));
    assert_eq!(door.refusal(&bad), Refusal::Revoked);
    door.directory = directory("stg", &both);
    assert_eq!(door.refusal(&bad), Refusal::TopicDenied);
    door.directory = directory("stg", &(service("web", 1, "a.x") + &service("other", 2, "a.#")));
    door.horizon = Some(Position::new(EPOCH, 13));
    assert_eq!(door.refusal(&bad), Refusal::Duplicate);
    door.horizon = Some(Position::new(EPOCH, 12));
    for _ in 0..BAD_SEALS {
        assert_eq!(door.refusal(&bad), Refusal::BadSignature);
    }
    assert_eq!(door.refusal(&bad), Refusal::Muted);
    // The pause over, a good one of that commit is cached, and the same seal on another body.
    door.now = Time(0) + MUTED;
    door.directory = directory("stg", &(service("web", 1, "a.#") + &service("other", 2, "b.#")));
    assert!(door.open(&Raw::middle()).is_ok());
    assert_eq!(door.refusal(&Raw::middle().flipped(2, 0)), Refusal::BadProof);
}

#[test]
fn bad_seals_mute_a_key_on_that_link_alone() {
    let (mut door, forged) = (Door::warm(), Raw::middle().flipped(3, 0));
    for _ in 0..BAD_SEALS {
        assert_eq!(door.refusal(&forged), Refusal::BadProof);
    }
    assert_eq!(door.refusal(&Raw::middle()), Refusal::Muted);
    let muted = std::mem::take(&mut door.budget);
    assert!(door.open(&Raw::middle()).is_ok(), "another link has a budget of its own");
    door.budget = muted;
    door.now = Time(0) + MUTED;
    assert!(door.open(&Raw::middle()).is_ok());
}

#[test]
fn a_duplicate_is_of_the_same_epoch_and_wholly_below_the_horizon() {
    let mut door = Door::new(known());
    for (epoch, seq, refused) in [
        (EPOCH, 13, true),
        (EPOCH, 12, false), // its last number is the one that is wanted
        (EPOCH + 1, 0, false),
        (EPOCH - 1, 99, false),
    ] {
        door.horizon = Some(Position::new(epoch, seq));
        assert_eq!(door.open(&Raw::middle()).is_err(), refused, "{epoch}/{seq}");
    }
    let tip = tip();
    door.horizon = Some(Position::new(EPOCH, 99));
    assert!(door.open(&tip).is_ok(), "a tip is no duplicate by its numbers");
}

fn tip() -> Raw {
    let draft = Draft {
        topic: "$tip.web".parse().unwrap(),
        ctype: ContentType::TIP,
        time: Wall(EPOCH),
        extension: Bytes::new(),
        body: Bytes::from_static(b"tip"),
    };
    let group = Group { topic: draft.topic.clone(), tseq: 0, messages: vec![(TIP_OFF, draft)] };
    let header = Header { commit: 4, ..header(0, 1) };
    Raw::of(&Unsealed { header, groups: vec![group] }.seal(&identity(), &mut Default::default()), 0)
}

#[test]
fn nobody_tips_for_another_nor_a_relay_speaks_for_itself() {
    let other = directory("stg", &service("other", 1, "#"));
    assert_eq!(Door::new(other).refusal(&tip()), Refusal::TopicDenied);
    let key = identity().key.public();
    let relay = directory(
        "stg",
        &format!("[relays.web]\nendpoint = \"tcp://h:1\"\nkey = \"{key}\"\ncarries = [\"#\"]\n"),
    );
    let mut door = Door::new(relay);
    assert_eq!(door.refusal(&Raw::middle()), Refusal::TopicDenied);
    assert!(door.open(&tip()).is_ok());
}

#[test]
fn two_commits_of_one_number_raise_the_alarm() {
    let mut door = Door::warm();
    let groups = vec![group("a.other", &[(0, "fork")])];
    let fork = Unsealed { header: header(1, 1), groups }.seal(&identity(), &mut Default::default());
    let opened = door.open(&Raw::of(&fork, 0)).unwrap();
    assert!(opened.fork && opened.verified.is_some());
    assert!(!door.open(&Raw::middle()).unwrap().fork, "the first stays the one that is cached");
    assert!(door.open(&Raw::of(&fork, 0)).unwrap().fork, "every time");
}

#[test]
fn a_forged_second_commit_raises_no_alarm() {
    let mut door = Door::warm();
    let forged = Raw::middle().put(36, &[0; 8]); // another time_us
    assert_eq!(door.refusal(&forged), Refusal::BadSignature);
}

#[test]
fn the_cache_is_bounded_and_forgets_the_oldest() {
    let mut door = Door::new(known());
    let nth = |commit: u64| {
        let header = Header { commit, ..header(1, 1) };
        Raw::of(
            &Unsealed { header, groups: vec![group("a", &[(0, "")])] }
                .seal(&identity(), &mut Default::default()),
            0,
        )
    };
    let first = nth(0);
    let id = CommitId::of(&first.parse().unwrap());
    door.open(&first).unwrap();
    for commit in 1..VERIFIED_COMMITS as u64 {
        door.open(&nth(commit)).unwrap();
    }
    assert!(door.cache.find(id).is_some());
    door.open(&nth(VERIFIED_COMMITS as u64)).unwrap();
    assert!(door.cache.find(id).is_none());
    assert!(door.open(&first).unwrap().verified.is_some(), "forgotten, not refused");
}

// ---- keys and signatures -----------------------------------------------------------------------

#[test]
fn a_signature_has_one_form() {
    // S + L verifies wherever S < L is not checked (RFC 8032, section 5.1.7).
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut second = Raw::middle();
    let mut carry = 0;
    for (byte, add) in second.seal()[SIGNATURE_AT + 32..INDEX_AT].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(carry, 0);
    assert_eq!(Door::new(known()).refusal(&second), Refusal::BadSignature);
}

#[test]
fn keys_of_small_order_open_nothing() {
    // The eight points of small order in their canonical encodings (Chalkias et al., 2020).
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    ] {
        let byte = |at: usize| u8::from_str_radix(&point[2 * at..2 * at + 2], 16).unwrap();
        let bytes = std::array::from_fn(byte);
        assert_eq!(PublicKey::from_bytes(&bytes), Err(BadKey::Weak), "{point}");
    }
}

// ---- whose fault it is -------------------------------------------------------------------------

#[test]
fn only_broken_structure_is_the_links_fault_at_once() {
    assert_eq!(Refusal::from(Malformed::Flags).blame(), Blame::Link);
    let nobodys = [
        Refusal::UnknownKey,
        Refusal::Revoked,
        Refusal::TopicDenied,
        Refusal::Duplicate,
        Refusal::Muted,
        Refusal::BadProof,
        Refusal::BadSignature,
    ];
    let mut labels: Vec<_> = nobodys.iter().map(|why| why.reason()).collect();
    assert!(nobodys.iter().all(|why| why.blame() == Blame::Nobody));
    labels.push(Refusal::from(Malformed::Flags).reason());
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), 8, "each is counted under a name of its own");
}
