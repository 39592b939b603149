//! Is each hash, signature and packet, byte for byte, what `vectors/seal.json` says?
//!
//! The JSON file is for readers in other languages. It was made by an implementation of its own
//! (Python's hashlib and cryptography), so it is not an echo of the code that this test runs.

use bytes::Bytes;
use selvedge_core::directory::Directory;
use selvedge_core::open::{Budget, Context, open};
use selvedge_core::seal::merkle::Hash;
use selvedge_core::seal::{
    Commit, ContentType, Draft, EpochEnd, Group, Header, Identity, Packet, PublicKey, Recent,
    SecretKey, Tip, Unsealed, Void, key_id, signed_bytes,
};
use selvedge_core::wire::Frames;
use selvedge_core::{Position, Time, Wall};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn file() -> Value {
    serde_json::from_str(include_str!("vectors/seal.json")).unwrap()
}

fn commits() -> Vec<Value> {
    file()["commits"].as_array().unwrap().clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn short(value: &Value) -> u16 {
    u16::try_from(number(value)).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value);
    assert_eq!(digits.len() % 2, 0, "{digits}");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn hash(value: &Value) -> Hash {
    hex(value).try_into().unwrap()
}

/// The annotated bytes, joined; a third element says how often a line stands there.
fn golden(lines: &Value) -> Vec<u8> {
    let often = |line: &Value| line[2].as_u64().unwrap_or(1) as usize;
    list(lines).iter().flat_map(|line| hex(&line[0]).repeat(often(line))).collect()
}

fn body(message: &Value) -> Bytes {
    let body = &message["body"];
    hex(&body[0]).repeat(number(&body[1]) as usize).into()
}

fn identity(commit: &Value) -> Identity {
    Identity {
        fabric: text(&commit["fabric"]).parse().unwrap(),
        publisher: text(&commit["publisher"]).parse().unwrap(),
        key: SecretKey::from_seed(&hash(&commit["seed"])),
    }
}

fn header(commit: &Value) -> Header {
    Header {
        key: text(&commit["key_id"]).parse().unwrap(),
        epoch: number(&commit["epoch"]),
        commit: number(&commit["commit"]),
        first: number(&commit["first"]),
        time: Wall(number(&commit["time_us"])),
        n: short(&commit["n"]),
        m: short(&commit["m"]),
    }
}

fn group(packet: &Value) -> Group {
    let message = |said: &Value| {
        let draft = Draft {
            topic: text(&packet["topic"]).parse().unwrap(),
            ctype: ContentType(short(&said["ctype"])),
            time: Wall(number(&said["time_us"])),
            extension: hex(&said["extension"]).into(),
            body: body(said),
        };
        (short(&said["off"]), draft)
    };
    Group {
        topic: text(&packet["topic"]).parse().unwrap(),
        tseq: number(&packet["tseq"]),
        messages: list(&packet["messages"]).iter().map(message).collect(),
    }
}

fn sealed(commit: &Value) -> Commit {
    let groups = list(&commit["packets"]).iter().map(group).collect();
    Unsealed { header: header(commit), groups }.seal(&identity(commit), &mut Default::default())
}

fn wire(commit: &Commit, index: usize) -> Bytes {
    Bytes::from(commit.packets[index].wire.concat())
}

fn parsed(commit: &Commit, index: usize) -> Packet {
    Packet::parse(Frames::parse(wire(commit, index)).unwrap()).unwrap()
}

/// A directory that allows a vector's key all topics under a vector's name.
fn directory(commit: &Value) -> Directory {
    let key = identity(commit).key.public();
    let text = format!(
        "format = 1\nfabric = \"{}\"\n[services.{}]\nkey = \"{key}\"\ntopics = [\"#\"]\n",
        text(&commit["fabric"]),
        text(&commit["publisher"]),
    );
    Directory::from_text("vectors.toml", &text).unwrap()
}

#[test]
fn keys_have_these_names() {
    for key in list(&file()["keys"]) {
        let public = SecretKey::from_seed(&hash(&key["seed"])).public();
        assert_eq!(public.as_bytes(), &hash(&key["public"]));
        assert_eq!(public.to_string(), text(&key["written"]));
        assert_eq!(text(&key["written"]).parse::<PublicKey>().unwrap(), public);
        assert_eq!(public.id().to_string(), text(&key["key_id"]));
        assert_eq!(key_id(&hash(&key["public"])), public.id());
    }
}

#[test]
fn we_seal_to_these_bytes() {
    for vector in commits() {
        let commit = sealed(&vector);
        assert_eq!(commit.packets.len(), list(&vector["packets"]).len());
        for (index, packet) in list(&vector["packets"]).iter().enumerate() {
            if let Some(lines) = packet.get("wire") {
                assert_eq!(wire(&commit, index), golden(lines), "{}: {index}", vector["name"]);
            }
        }
    }
}

#[test]
fn every_value_on_the_way_is_the_one_listed() {
    for vector in commits() {
        let commit = sealed(&vector);
        let header = header(&vector).encode();
        let Identity { fabric, publisher, key } = identity(&vector);
        let signed = signed_bytes(&fabric, &publisher, &header, &hash(&vector["root"]));
        assert_eq!(signed, golden(&vector["signed"]), "{}", vector["name"]);
        let signature: [u8; 64] = hex(&vector["signature"]).try_into().unwrap();
        assert!(key.public().verifies(&signed, &signature));
        for (index, listed) in list(&vector["packets"]).iter().enumerate() {
            let packet = parsed(&commit, index);
            assert_eq!(packet.signature(), &signature);
            assert_eq!(packet.header_bytes(), &header);
            let roots = Packet::roots(std::iter::once(&packet));
            assert_eq!(roots, [hash(&vector["root"])]);
            assert_eq!(leaf(listed), hash(&listed["leaf"]), "{} {index}", vector["name"]);

            let mut rest = (index as u16).to_le_bytes().to_vec(); // after the signature
            rest.extend_from_slice(&[list(&listed["proof"]).len() as u8, 0]);
            rest.extend(list(&listed["proof"]).iter().flat_map(hex));
            rest.extend(hex(&listed["head"]));
            let seal = Frames::parse(wire(&commit, index)).unwrap().slice(1);
            assert_eq!(&seal[112..], rest, "{} {index}", vector["name"]);
        }
    }
}

/// The hash of a leaf, from what the vector lists.
fn leaf(packet: &Value) -> Hash {
    let topic = text(&packet["topic"]);
    let mut leaf = Sha256::new().chain_update([0, topic.len() as u8]).chain_update(topic);
    leaf.update(hex(&packet["head"]));
    list(&packet["messages"]).iter().for_each(|message| leaf.update(body(message)));
    leaf.finalize().into()
}

#[test]
fn every_listed_packet_passes_the_door_as_what_it_is() {
    for vector in commits() {
        let directory = directory(&vector);
        for (index, listed) in list(&vector["packets"]).iter().enumerate() {
            let Some(lines) = listed.get("wire") else { continue };
            let packet = Packet::parse(Frames::parse(golden(lines).into()).unwrap()).unwrap();
            let cx = Context { directory: &directory, horizon: None, cached: None, now: Time(0) };
            let opened = open(packet, &cx, &mut Budget::default()).unwrap();
            assert_eq!(opened.trusted.publisher().as_str(), text(&vector["publisher"]));
            let packet = opened.trusted.packet();
            assert_eq!(packet.topic().as_str(), text(&listed["topic"]));
            assert_eq!(*packet.header(), header(&vector));
            assert_eq!(packet.tseq(), number(&listed["tseq"]));
            let messages = list(&listed["messages"]);
            assert_eq!(usize::from(packet.count()), messages.len());
            for (entry, said) in packet.entries().zip(messages) {
                assert_eq!(entry.off, short(&said["off"]), "{} {index}", vector["name"]);
                assert_eq!(entry.ctype, ContentType(short(&said["ctype"])));
                assert_eq!(entry.time, Wall(number(&said["time_us"])));
                assert_eq!(entry.extension, hex(&said["extension"]));
                assert_eq!(packet.body(entry.body), body(said));
            }
        }
    }
}

#[test]
fn the_tip_says_what_is_listed() {
    let vectors = commits();
    let vector = vectors.iter().find(|vector| vector.get("tip").is_some()).unwrap();
    let listed = &vector["tip"];
    let numbers = |value: &Value| list(value).iter().map(number).collect::<Vec<_>>();
    let tip = Tip {
        next: number(&listed["next"]),
        oldest: Position::new(number(&listed["oldest"][0]), number(&listed["oldest"][1])),
        epochs: list(&listed["epochs"])
            .iter()
            .map(numbers)
            .map(|n| EpochEnd { epoch: n[0], end: n[1], clean: n[2] == 1 })
            .collect(),
        voids: list(&listed["voids"])
            .iter()
            .map(numbers)
            .map(|n| Void { epoch: n[0], from: n[1], to: n[2] })
            .collect(),
        recent: list(&listed["recent"])
            .iter()
            .map(|said| Recent {
                topic: text(&said[0]).parse().unwrap(),
                tseq: number(&said[1]),
                seq: number(&said[2]),
            })
            .collect(),
        more: number(&listed["more"]) == 1,
    };
    let body = body(&vector["packets"][0]["messages"][0]);
    assert_eq!(tip.encode(), body);
    assert_eq!(Tip::parse(&body), Ok(tip));
    assert!(parsed(&sealed(vector), 0).is_tip());
}

#[test]
fn the_vectors_are_of_every_shape() {
    let sizes: Vec<u64> = commits().iter().map(|vector| number(&vector["m"])).collect();
    assert_eq!(sizes, [1, 2, 3, 7, 64, 1]);
    let commits = commits();
    let packets = || commits.iter().flat_map(|vector| list(&vector["packets"]));
    assert!(packets().any(|packet| list(&packet["messages"]).len() > 2));
    let messages = || packets().flat_map(|packet| list(&packet["messages"]));
    assert!(messages().any(|message| !text(&message["extension"]).is_empty()));
    for bytes in [0..=0, 256..=4_095, 4_096..=usize::MAX] {
        assert!(messages().any(|message| bytes.contains(&body(message).len())), "{bytes:?}");
    }
}
