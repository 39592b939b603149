//! What is measured: a case is data.

use serde::{Deserialize, Serialize};

/// One publisher, some subscribers, and what passes between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// How reports call it.
    pub name: String,
    /// Each gets every message.
    pub subscribers: usize,
    /// Length of a body; at least [`crate::measure::STAMP`].
    pub bytes: usize,
    /// How many are published.
    pub messages: u64,
    /// Whether a process in between sends them on.
    pub relayed: bool,
    /// Messages a second; none: as fast as they are taken.
    pub rate: Option<u64>,
}

/// Every case in full, or one hundredth of it where it only has to be shown that all works.
pub fn all(smoke: bool) -> Vec<Case> {
    let case = |name: &str, subscribers, messages: u64, rate| Case {
        name: name.to_owned(),
        subscribers,
        bytes: 256,
        relayed: name.starts_with("relayed"),
        messages: if smoke { messages / 100 } else { messages },
        rate,
    };
    vec![
        case("1 to 1, saturated", 1, 4_000_000, None),
        case("1 to 8, saturated", 8, 400_000, None),
        case("1 to 1, 1,000/s", 1, 10_000, Some(1_000)),
        case("relayed, saturated", 1, 2_000_000, None),
        case("relayed, 1,000/s", 1, 10_000, Some(1_000)),
    ]
}
