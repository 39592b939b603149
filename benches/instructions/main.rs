//! How many instructions does a message take, and more than when the baseline was stored? Counted
//! by callgrind, so that neither the clock nor what else the machine does matters.
//!
//! Not counted is what runs in SHA-256's compression function and in Ed25519: both are libraries'
//! work, chosen by the processor's abilities, and valgrind shows a processor without SHA
//! instructions and AVX-512, on which packets are hashed in pairs. How often they are called is for
//! `--bench seal` to show. Nor is the kernel.

use std::collections::BTreeMap;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::baseline::{Baseline, Tools, Verdict};
use crate::callgrind::Profile;
use crate::cases::{CASES, COMMITS, Case};

mod baseline;
mod callgrind;
mod cases;
mod deliver;
mod publish;
#[path = "../seal/steps.rs"]
mod steps;

/// Commits of the smaller run, in which all is touched once; the larger one has [`COMMITS`].
const WARM: u64 = 4;

/// Functions whose names hold one of these are not counted.
const NOT_OURS: [&str; 6] =
    ["sha2::", "sha256::wide::", "ed25519::", "ed25519_dalek::", "curve25519_dalek::", "subtle::"];

/// Counts instructions per message and compares them with the baseline; exit 1 after a regression.
#[derive(Parser)]
struct Arguments {
    /// Stores what was counted as the baseline.
    #[arg(long)]
    update: bool,
    /// Only cases whose name starts so.
    #[arg(long, value_name = "NAME", default_value = "", conflicts_with = "update")]
    only: String,
    /// Shows the N functions of each case that take most, those not counted too.
    #[arg(long, value_name = "N", default_value = "0")]
    top: usize,
    /// Every case once, without counting: whether all works, in seconds.
    #[arg(long)]
    smoke: bool,
    /// The case and number of commits that a process started by this one has to do.
    #[arg(long, hide = true, num_args = 2)]
    perform: Option<Vec<String>>,
    /// Where such a process has to listen.
    #[arg(long, hide = true)]
    hear: Option<String>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(address) = &arguments.hear {
        return publish::hear(address).map(|()| ExitCode::SUCCESS);
    }
    if let Some([name, commits]) = arguments.perform.as_deref() {
        let case = CASES.iter().find(|case| case.name() == *name).context("no such case")?;
        return case.run(commits.parse()?).map(|()| ExitCode::SUCCESS);
    }
    if arguments.smoke {
        CASES.iter().try_for_each(|case| case.run(1))?;
        return say("every case ran; nothing was counted (--smoke)");
    }
    let Some(valgrind) = callgrind::version() else {
        return say("SKIPPED, nothing was counted: valgrind is not installed");
    };
    let tools = Tools::here(valgrind)?;
    if arguments.update {
        let path = Baseline::new(tools, count_all(&arguments)?).store()?;
        return say(&format!("stored in {path}"));
    }
    let baseline = Baseline::load()?;
    let Some(tolerance) = baseline.tolerance(&tools) else {
        return say(&format!("SKIPPED: this is {tools}; the baseline is of {}", baseline.tools));
    };
    compare(&baseline, &tools, tolerance, &count_all(&arguments)?)
}

fn say(text: &str) -> Result<ExitCode> {
    writeln!(stdout(), "instructions: {text}")?;
    Ok(ExitCode::SUCCESS)
}

fn count_all(arguments: &Arguments) -> Result<BTreeMap<String, f64>> {
    let mut counts = BTreeMap::new();
    for case in CASES.iter().filter(|case| case.name().starts_with(&arguments.only)) {
        writeln!(stderr(), "counting: {}", case.name())?;
        let functions = functions(case)?;
        let ours = functions.iter().filter(|(name, _)| is_ours(name));
        // A tenth of an instruction is more than is known.
        let count = (ours.map(|(_, count)| count).sum::<f64>() * 10.0).round() / 10.0;
        counts.insert(case.name(), count);
        show(functions, arguments.top)?;
    }
    ensure!(!counts.is_empty(), "no case of this name");
    Ok(counts)
}

fn is_ours(function: &str) -> bool {
    !NOT_OURS.iter().any(|part| function.contains(part))
}

/// Instructions a message of each function: what two runs differ by.
fn functions(case: &Case) -> Result<BTreeMap<String, f64>> {
    let run = |commits: u64| -> Result<Profile> {
        callgrind::profile(&["--perform", &case.name(), &commits.to_string()])
    };
    let (few, many) = (run(WARM)?, run(COMMITS)?);
    let messages = ((COMMITS - WARM) * u64::from(case.shape.messages)) as f64;
    let of = |profile: &Profile, name| profile.get(name).copied().unwrap_or_default();
    let names = few.keys().chain(many.keys());
    let each =
        names.map(|name| (name.clone(), (of(&many, name) - of(&few, name)) as f64 / messages));
    Ok(each.collect())
}

fn show(functions: BTreeMap<String, f64>, top: usize) -> Result<()> {
    let mut functions: Vec<(String, f64)> = functions.into_iter().collect();
    functions.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (name, count) in functions.iter().take(top) {
        let mark = if is_ours(name) { ' ' } else { '-' };
        writeln!(stdout(), "  {count:>10.1} {mark} {name}")?;
    }
    Ok(())
}

fn compare(
    baseline: &Baseline,
    tools: &Tools,
    tolerance: f64,
    counts: &BTreeMap<String, f64>,
) -> Result<ExitCode> {
    let mut out = stdout().lock();
    writeln!(out, "counted with {tools}")?;
    if baseline.tools != *tools {
        writeln!(out, "the baseline was counted with {}: more may pass", baseline.tools)?;
    }
    writeln!(out, "instructions a message, without SHA-256 and Ed25519; ± {tolerance} % pass")?;
    writeln!(out, "{:32}{:>10}{:>10}{:>10}", "case", "before", "now", "change")?;
    let (mut worse, mut better) = (false, false);
    for (name, now) in counts {
        let before = baseline.count(name);
        let verdict = baseline::judge(before, *now, tolerance);
        let word = match verdict {
            Verdict::Same => "",
            Verdict::Better => "  better",
            Verdict::Worse => "  REGRESSION",
            Verdict::New => "  NOT IN THE BASELINE",
        };
        let change = before.map_or(0.0, |before| baseline::percent(before, *now));
        let before = before.unwrap_or_default();
        writeln!(out, "{name:32}{before:>10.1}{now:>10.1}{change:>+9.1}%{word}")?;
        worse |= matches!(verdict, Verdict::Worse | Verdict::New);
        better |= matches!(verdict, Verdict::Better);
    }
    if better || worse {
        writeln!(
            out,
            "update the baseline if this is meant: \
             cargo bench -p selvedge-benches --bench instructions -- --update"
        )?;
    }
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
