//! What was counted when the code was last found good, and how far today's count may be from it.

use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fmt, fs};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// Percent by which a count may differ. Two runs of one build differ by half of one, for a
/// heartbeat falls into one of them.
const TOLERANCE: f64 = 3.0;

/// Instructions by which it may differ in any case: a change elsewhere may move the compiler's mind
/// about one loop, or the heap's about one block. To copy or count a body anew takes more.
const SLACK: f64 = 8.0;

/// The same with another compiler, valgrind or C library than the baseline's, which inline and
/// copy in other ways.
const TOLERANCE_ELSEWHERE: f64 = 15.0;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions/baseline.json");

/// Instructions a message, by case, and what they were counted with.
#[derive(Serialize, Deserialize)]
pub struct Baseline {
    pub tools: Tools,
    instructions_per_message: BTreeMap<String, f64>,
}

/// What decides how many instructions the same source takes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    rustc: String,
    valgrind: String,
    libc: String,
    machine: String,
}

/// How a count compares.
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Below it: the baseline should be renewed.
    Better,
    /// Above it.
    Worse,
    /// The baseline has no such case.
    New,
}

impl Tools {
    /// Those of this machine.
    pub fn here(valgrind: String) -> Result<Tools> {
        Ok(Tools {
            rustc: ask("rustc", &["--version"])?,
            valgrind,
            libc: ask("getconf", &["GNU_LIBC_VERSION"])?,
            machine: env::consts::ARCH.to_owned(),
        })
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tools { rustc, valgrind, libc, machine } = self;
        write!(f, "{rustc}, {valgrind}, {libc}, {machine}")
    }
}

impl Baseline {
    pub fn new(tools: Tools, instructions_per_message: BTreeMap<String, f64>) -> Baseline {
        Baseline { tools, instructions_per_message }
    }

    /// Reads the one that is stored.
    pub fn load() -> Result<Baseline> {
        let text = fs::read_to_string(FILE).context(FILE)?;
        serde_json::from_str(&text).context(FILE)
    }

    /// Replaces the one that is stored; returns where.
    pub fn store(&self) -> Result<&'static str> {
        fs::write(FILE, serde_json::to_string_pretty(self)? + "\n").context(FILE)?;
        Ok(FILE)
    }

    /// Percent that counts made with `tools` may differ by; none if the machine is of another kind.
    pub fn tolerance(&self, tools: &Tools) -> Option<f64> {
        let same = if self.tools == *tools { TOLERANCE } else { TOLERANCE_ELSEWHERE };
        (self.tools.machine == tools.machine).then_some(same)
    }

    /// The stored count of a case.
    pub fn count(&self, case: &str) -> Option<f64> {
        self.instructions_per_message.get(case).copied()
    }
}

/// Judges a count against a stored one.
pub fn judge(before: Option<f64>, after: f64, tolerance: f64) -> Verdict {
    let Some(before) = before else { return Verdict::New };
    let may = (before * tolerance / 100.0).max(SLACK);
    match after - before {
        more if more > may => Verdict::Worse,
        less if less < -may => Verdict::Better,
        _ => Verdict::Same,
    }
}

/// By how much a count rose.
pub fn percent(before: f64, after: f64) -> f64 {
    (after / before - 1.0) * 100.0
}

fn ask(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().context(program.to_owned())?;
    ensure!(output.status.success(), "{program}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
