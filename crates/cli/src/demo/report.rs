//! What the user sees: the story as it goes, and the table of sums.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use serde::Serialize;
use tokio::time::Instant;

use super::account::{Gap, Sum};
use super::stage::Stage;
use crate::output;

/// Wrong messages that are listed for each subscriber; all are counted.
const LISTED: usize = 10;

/// Lost ranges that fit into a line.
const SHOWN: usize = 2;

/// Reasons that the demo must have shown.
const MUST_REFUSE: [&str; 2] = ["unknown_key", "topic_denied"];

/// Tells the story: on standard output, or on standard error if the result is for machines.
#[derive(Debug)]
pub struct Narrator {
    json: bool,
    colour: bool,
    started: Instant,
    /// When the last thing happened that was told.
    told: Instant,
}

/// How it went.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Whether all sums are right and everything was seen.
    pub good: bool,
    /// How long it took.
    pub seconds: f64,
    /// Accepted messages, by publisher.
    publishers: BTreeMap<String, u64>,
    subscribers: BTreeMap<String, Line>,
    /// By relay: what it refused, by reason.
    relays: BTreeMap<String, BTreeMap<String, u64>>,
    /// What should have been seen and was not.
    faults: Vec<String>,
}

/// One subscriber's.
#[derive(Debug, Serialize)]
struct Line {
    patterns: Vec<String>,
    #[serde(flatten)]
    sum: Sum,
    ranges: Vec<Range>,
    refused: BTreeMap<String, u64>,
}

/// What was declared lost, and how many accepted and wanted messages were in there.
#[derive(Debug, Serialize)]
struct Range {
    #[serde(flatten)]
    gap: Gap,
    messages: u64,
}

impl Summary {
    /// Of what was seen on the stage; refusals of these, in this order.
    pub fn of(stage: &Stage, doors: &[&str]) -> Summary {
        let refused = |name: &str| stage.refused.get(name).cloned().unwrap_or_default();
        let mut sums = stage.history.sums();
        let mut losses = stage.history.losses();
        let mut faults = stage.faults.clone();
        for (name, epoch, accepted, reported) in stage.history.unreported() {
            faults.push(format!("{name}/{epoch} accepted {accepted} and reported {reported}"));
        }
        let (mut subscribers, mut relays) = (BTreeMap::new(), BTreeMap::new());
        for name in doors {
            let (Some(sum), Some(heard)) = (sums.remove(name), stage.history.heard.get(*name))
            else {
                relays.insert((*name).to_owned(), refused(name));
                continue;
            };
            let ranges = losses.remove(name).unwrap_or_default().into_iter();
            let ranges = ranges.map(|(gap, messages)| Range { gap: gap.clone(), messages });
            let patterns = heard.patterns.iter().map(ToString::to_string).collect();
            let ranges = ranges.collect();
            let line = Line { patterns, sum, ranges, refused: refused(name) };
            subscribers.insert((*name).to_owned(), line);
        }
        for reason in MUST_REFUSE {
            if !stage.refused.values().any(|refused| refused.contains_key(reason)) {
                faults.push(format!("nobody refused anything by {reason}"));
            }
        }
        let right = subscribers.values().all(|line| line.sum.is_right() && line.sum.delivered > 0);
        let publishers = stage.history.by_publisher().into_iter();
        Summary {
            good: right && faults.is_empty(),
            seconds: (stage.narrator.started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            publishers: publishers.map(|(name, count)| (name.to_owned(), count)).collect(),
            subscribers,
            relays,
            faults,
        }
    }
}

impl Narrator {
    /// Its clock starts now.
    pub fn new(json: bool) -> Narrator {
        let terminal = if json { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let now = Instant::now();
        Narrator { json, colour: terminal && output::colour_wanted(), started: now, told: now }
    }

    /// Something happens.
    pub fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        self.told = Instant::now();
        let seconds = format!("{:5.1} s", self.started.elapsed().as_secs_f64());
        self.print(&format!("{}  {}\n", self.dim(&seconds), self.bold(text)))
    }

    /// More about it.
    pub fn more(&self, text: &str) -> anyhow::Result<()> {
        self.print(&format!("         {text}\n"))
    }

    /// It went well, so long after it began.
    pub fn good(&self, text: &str) -> anyhow::Result<()> {
        let took = self.told.elapsed();
        let took = match took.as_millis() {
            millis @ ..1_000 => format!("{millis} ms"),
            _ => format!("{:.1} s", took.as_secs_f64()),
        };
        self.more(&format!("{} {}", self.paint("32", text), self.dim(&format!("({took})"))))
    }

    /// An alarm, or a failure.
    pub fn alarm(&self, text: &str) -> anyhow::Result<()> {
        let mut shown = String::new();
        output::escape(text, &mut shown);
        self.more(&self.paint("31", &shown))
    }

    /// The table, or one JSON object on standard output.
    pub fn summary(&self, summary: &Summary) -> anyhow::Result<()> {
        match self.json {
            true => output::line(&serde_json::to_string(summary)?),
            false => self.print(&self.table(summary)),
        }
    }

    /// How to play with what is left running.
    pub fn invitation(&self, directory: &Path, relay: &str) -> anyhow::Result<()> {
        let program = std::env::args_os().next().unwrap_or_else(|| "selvedge".into());
        let (directory, program) = (directory.display(), program.to_string_lossy());
        self.print(&format!(
            "\n{}\n  export SELVEDGE_DIRECTORY={directory}\n  {program} tail\n  \
             {program} tail --via {relay} 'demo.files.#'\n  {program} check\n",
            self.bold("The fabric goes on until Ctrl-C. Try, in another terminal:")
        ))
    }

    fn table(&self, summary: &Summary) -> String {
        let [unknown, denied] = MUST_REFUSE;
        let mut text = String::from("\n");
        let titles = [
            format!("{:59}refused for", ""),
            format!(
                "{:<10}{:>9}   {:>9}   {:>5}   {:>7}   {unknown:>11}  {denied:>12}",
                "", "accepted", "delivered", "lost", "too old"
            ),
        ];
        titles.iter().for_each(|title| line(&mut text, &self.bold(title)));
        for (name, Line { sum, refused, .. }) in &summary.subscribers {
            let equals =
                if sum.is_right() { self.paint("32", "=") } else { self.paint("31", "≠") };
            let Sum { accepted, delivered, lost, before, .. } = sum;
            let sum = format!("{accepted:>9} {equals} {delivered:>9} + {lost:>5} + {before:>7}");
            line(&mut text, &format!("{name:<10}{sum}   {}", self.refusals(refused)));
        }
        for (name, refused) in &summary.relays {
            line(&mut text, &format!("{name:<10}{:39}   {}", "(relay)", self.refusals(refused)));
        }
        let said = summary.publishers.iter().map(|(name, count)| format!("{name} {count}"));
        let said: Vec<String> = said.collect();
        line(&mut text, &self.dim(&format!("\nAccepted from {}.", said.join(", "))));
        line(&mut text, &self.dim("Too old: said before the subscriber had joined."));
        self.findings(summary, &mut text);
        text
    }

    fn findings(&self, summary: &Summary, text: &mut String) {
        for (name, subscriber) in &summary.subscribers {
            let wrong = &subscriber.sum.wrong;
            for wrong in wrong.iter().take(LISTED) {
                line(text, &self.paint("31", &format!("{name}: {wrong}")));
            }
            if wrong.len() > LISTED {
                line(text, &self.paint("31", &format!("{name}: … {} in all", wrong.len())));
            }
        }
        for fault in &summary.faults {
            line(text, &self.paint("31", fault));
        }
        let verdict = match summary.good {
            true => self.paint("1;32", "Every accepted message is accounted for, exactly once."),
            false => self.paint("1;31", "This does not add up."),
        };
        line(text, &verdict);
    }

    fn refusals(&self, refused: &BTreeMap<String, u64>) -> String {
        let count = |reason: &str| refused.get(reason).copied().unwrap_or(0);
        let [unknown, denied] = MUST_REFUSE.map(count);
        let numbers = format!("{unknown:>11}  {denied:>12}");
        if unknown + denied > 0 { self.paint("33", &numbers) } else { self.dim(&numbers) }
    }

    fn print(&self, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => output::aside(text),
            false => output::print(text.as_bytes())?,
        }
        Ok(())
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, style: &str, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{style}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// What a subscriber was told to be lost, in a line for people.
pub fn losses(losses: &[(&Gap, u64)]) -> String {
    let messages: u64 = losses.iter().map(|(_, messages)| messages).sum();
    let ranges = losses.iter().take(SHOWN).map(|(Gap { from, to, reason }, _)| {
        match from.at.epoch == to.at.epoch {
            true => format!("{}..{} ({reason})", from.at.seq, to.at.seq),
            false => format!("{}.. ({reason})", from.at.seq),
        }
    });
    let more = if losses.len() > SHOWN { ", …" } else { "" };
    let ranges: Vec<String> = ranges.collect();
    format!("{messages} lost: {}{more}", ranges.join(", "))
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}"); // a String takes all
}
