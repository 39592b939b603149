//! Texts of directories for tests.
#![allow(dead_code, reason = "no test uses all of it")]

use selvedge_core::directory::{File, Files, Update};
use selvedge_core::seal::{PublicKey, SecretKey};

/// The head of a main file.
pub const HEAD: &str = "format = 1\nfabric = \"test\"\n";

/// A key for each number.
pub fn key(number: u32) -> PublicKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(&seed).public()
}

/// An entry of the key `number`, saying `topics`.
pub fn service_saying(name: &str, number: u32, topics: &str) -> String {
    let key = key(number);
    format!("[services.{name}]\nkey = \"{key}\"\ntopics = [\"{topics}\"]\n")
}

/// An entry of the key `number`, saying all topics of its own name.
pub fn service(name: &str, number: u32) -> String {
    service_saying(name, number, &format!("test.{name}.#"))
}

/// A relay of the key `number`.
pub fn relay(name: &str, number: u32) -> String {
    let key = key(number);
    let endpoint = format!("tcp://{name}.example.org:9950");
    format!("[relays.{name}]\nendpoint = \"{endpoint}\"\nkey = \"{key}\"\ncarries = \"#\"\n")
}

/// The services `s0`, `s1` … with the keys of these numbers.
pub fn services(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| service(&format!("s{number}"), number)).collect()
}

/// A main file and drop-ins, by name and text.
pub fn files(main: &str, drop_ins: &[(&str, &str)]) -> Files {
    let file = |(name, text): &(&str, &str)| File {
        name: format!("endpoints.d/{name}"),
        content: Ok(text.as_bytes().to_vec()),
    };
    let drop_ins = drop_ins.iter().map(file).collect();
    Files { drop_ins, ..Files::one("endpoints.toml", main) }
}

/// All problems, a line each.
pub fn problems(update: &Update) -> String {
    update.problems.iter().map(|problem| format!("{problem}\n")).collect()
}
