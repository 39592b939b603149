//! The stage: all files and processes of the demo, what was seen of them, and how to wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use selvedge::{Pattern, Topic};
use selvedge_core::limits::RECONNECT_MAX;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::account::{Heard, History};
use super::activity;
use super::children::{Children, Word, Words, last_words};
use super::fabric::Fabric;
use super::parts::{Order, Report};
use super::report::Narrator;
use crate::options::Level;

/// How long to wait for what must be seen: who was away is dialled again within [`RECONNECT_MAX`],
/// at random, and a busy host takes its time.
const PATIENCE: Duration = RECONNECT_MAX.saturating_add(Duration::from_secs(10));

/// The user wants it to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before the report")]
pub struct Interrupted;

/// See the module.
#[derive(Debug)]
pub struct Stage {
    pub fabric: Fabric,
    pub history: History,
    /// By subscriber or relay: what it refused, by reason.
    pub refused: BTreeMap<String, BTreeMap<String, u64>>,
    /// By subscriber: what is wrong with the directory.
    pub problems: BTreeMap<String, Vec<String>>,
    /// What should have been seen and was not.
    pub faults: Vec<String>,
    pub narrator: Narrator,
    children: Children,
    words: Words,
    ready: BTreeSet<String>,
    /// Those that are being killed: their end is no surprise.
    ending: BTreeSet<String>,
    /// What each service is allowed by the true directory; nothing: it has another's name.
    rights: BTreeMap<String, Option<Pattern>>,
    counted: BTreeSet<String>,
    shutdown: CancellationToken,
    activity: Vec<AbortOnDropHandle<std::io::Result<()>>>,
}

/// A service process that is to be started.
pub struct Service<'a> {
    pub name: &'a str,
    /// What it may say by the true directory; nothing: its key is not the one in there.
    pub rights: Option<&'a str>,
    pub directory: &'a Path,
    pub key: &'a Path,
    /// Where its events come from, as arguments.
    pub source: &'a [&'a str],
}

impl Stage {
    /// An empty one.
    pub fn new(
        narrator: Narrator,
        log: Option<Level>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Stage> {
        let (children, words) = Children::new(log)?;
        Ok(Stage {
            fabric: Fabric::new()?,
            history: History::default(),
            refused: BTreeMap::new(),
            problems: BTreeMap::new(),
            faults: Vec::new(),
            narrator,
            children,
            words,
            ready: BTreeSet::new(),
            ending: BTreeSet::new(),
            rights: BTreeMap::new(),
            counted: BTreeSet::new(),
            shutdown,
            activity: Vec::new(),
        })
    }

    // ---- starting and ending -------------------------------------------------------------------

    /// Starts what changes files and appends lines.
    pub fn start_activity(&mut self) {
        let files = activity::change_files(self.fabric.watched());
        let lines = activity::append_lines(self.fabric.lines());
        self.activity.push(AbortOnDropHandle::new(tokio::spawn(files)));
        self.activity.push(AbortOnDropHandle::new(tokio::spawn(lines)));
    }

    /// Starts a service that is in the directory, with its own key.
    pub fn start_service(&mut self, name: &str, source: &[&str]) -> anyhow::Result<()> {
        let (directory, key) = (self.fabric.directory(), self.fabric.key(name));
        let rights = format!("demo.{name}.#");
        let rights = Some(rights.as_str());
        self.start_as(Service { name, rights, directory: &directory, key: &key, source })
    }

    /// Starts a service of which anything may be wrong.
    pub fn start_as(&mut self, service: Service<'_>) -> anyhow::Result<()> {
        let Service { name, rights, directory, key, source } = service;
        let rights = rights.map(str::parse).transpose()?;
        self.rights.insert(name.to_owned(), rights);
        let mut part = speaker("service", name, key);
        part.extend(source.iter().map(Into::into));
        self.start(name, directory, part)
    }

    /// Starts a relay that is in the directory.
    pub fn start_relay(&mut self, name: &str) -> anyhow::Result<()> {
        let part = speaker("relay", name, &self.fabric.key(name));
        self.start(name, &self.fabric.directory(), part)
    }

    /// Starts a subscriber, to the services themselves or to a relay.
    pub fn start_subscriber(
        &mut self,
        name: &str,
        via: Option<&str>,
        patterns: &[&str],
    ) -> anyhow::Result<()> {
        let parsed: Result<Vec<Pattern>, _> = patterns.iter().map(|text| text.parse()).collect();
        let heard = Heard { patterns: parsed?, ..Heard::default() };
        // One that was here before goes on where it was.
        self.history.heard.entry(name.to_owned()).or_insert(heard);
        let mut part: Vec<OsString> = vec!["subscriber".into(), "--name".into(), name.into()];
        part.extend(via.into_iter().flat_map(|relay| ["--via".into(), relay.into()]));
        part.extend(patterns.iter().map(Into::into));
        self.start(name, &self.fabric.directory(), part)
    }

    /// Lets a subscriber note what it heard, and end.
    pub async fn leave(&mut self, name: &str) -> anyhow::Result<()> {
        self.ending.insert(name.to_owned());
        self.children.tell(name, Order::Leave).await?;
        let left = |stage: &Stage| !stage.ending.contains(name);
        self.must_happen(&format!("{name} to leave"), left).await?;
        self.children.kill(name).await // it has ended
    }

    /// Starts a service that says one thing through a relay, and ends.
    pub fn start_hook(&mut self, name: &str, via: &str, topic: &str) -> anyhow::Result<()> {
        self.rights.insert(name.to_owned(), Some(topic.parse()?));
        self.ending.insert(name.to_owned());
        let mut part = speaker("hook", name, &self.fabric.key(name));
        part.extend(["--via".into(), via.into(), topic.into()]);
        self.start(name, &self.fabric.directory(), part)
    }

    fn start(&mut self, name: &str, directory: &Path, part: Vec<OsString>) -> anyhow::Result<()> {
        self.ready.remove(name);
        let state = self.fabric.folder().join("state");
        let common: [OsString; 4] =
            ["--directory".into(), directory.into(), "--state".into(), state.into()];
        self.children.start(name, &self.fabric.log(name), common.into_iter().chain(part))
    }

    /// Kills a process with SIGKILL; what it said before is noted.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.ending.insert(name.to_owned());
        self.children.kill(name).await?;
        while let Ok((name, word)) = self.words.try_recv() {
            self.note(&name, word)?;
        }
        Ok(())
    }

    /// Ends everything and leaves nothing behind.
    pub async fn clear(self) -> anyhow::Result<()> {
        drop(self.activity);
        self.children.end().await;
        self.fabric.remove()
    }

    // ---- speaking to all -----------------------------------------------------------------------

    /// Tells all services.
    pub async fn tell_services(&mut self, order: Order) -> anyhow::Result<()> {
        let names: Vec<String> = self.rights.keys().cloned().collect();
        for name in names {
            self.children.tell(&name, order).await?;
        }
        Ok(())
    }

    /// Asks subscribers and relays what they refused, and waits for the answers.
    pub async fn count_refusals(&mut self, of: &[&str]) -> anyhow::Result<()> {
        self.counted.clear();
        for name in of {
            self.children.tell(name, Order::Count).await?;
        }
        let all = |stage: &Stage| of.iter().all(|name| stage.counted.contains(*name));
        self.must_happen("the counts of refusals", all).await?;
        Ok(())
    }

    /// Whether all services have said how much they accepted, and paused.
    pub fn all_paused(&self) -> bool {
        let paused = |name: &String| self.history.complete.keys().any(|(by, _)| by == name);
        self.rights.keys().all(paused)
    }

    // ---- waiting -------------------------------------------------------------------------------

    /// Notes what is said until `deadline`, or until `seen`. True if it was seen.
    ///
    /// # Errors
    /// [`Interrupted`], or what a child died of.
    pub async fn until(
        &mut self,
        deadline: Instant,
        seen: impl Fn(&Stage) -> bool,
    ) -> anyhow::Result<bool> {
        while !seen(self) {
            let shutdown = self.shutdown.clone();
            let word = tokio::select! {
                word = timeout_at(deadline, self.words.recv()) => word,
                () = shutdown.cancelled() => return Err(Interrupted.into()),
            };
            match word {
                Ok(Some((name, word))) => self.note(&name, word)?,
                Ok(None) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits for what must happen soon, and tells it; it is a fault if it does not.
    ///
    /// # Errors
    /// As [`Stage::until`].
    pub async fn must_see(
        &mut self,
        what: &str,
        seen: impl Fn(&Stage) -> bool,
    ) -> anyhow::Result<()> {
        match self.must_happen(what, seen).await? {
            true => self.narrator.good(what),
            false => Ok(()),
        }
    }

    /// As [`Stage::must_see`], and tells it only if it does not happen.
    pub async fn must_happen(
        &mut self,
        what: &str,
        seen: impl Fn(&Stage) -> bool,
    ) -> anyhow::Result<bool> {
        let happens = self.until(Instant::now() + PATIENCE, seen).await?;
        if !happens {
            let fault = format!("not seen within {} s: {what}", PATIENCE.as_secs());
            self.narrator.alarm(&fault)?;
            self.faults.push(fault);
        }
        Ok(happens)
    }

    /// Waits until these processes run.
    pub async fn must_run(&mut self, names: &[&str]) -> anyhow::Result<()> {
        let ready = |stage: &Stage| names.iter().all(|name| stage.ready.contains(*name));
        self.must_happen(&format!("{} running", names.join(", ")), ready).await?;
        Ok(())
    }

    fn note(&mut self, name: &str, word: Word) -> anyhow::Result<()> {
        let report = match word {
            Word::Report(report) => report,
            Word::Ended if self.ending.remove(name) => return Ok(()),
            Word::Ended => anyhow::bail!("{name} ended: {}", last_words(&self.fabric.log(name))),
        };
        let heard = self.history.heard.get_mut(name);
        match (report, heard) {
            (Report::Ready, _) => drop(self.ready.insert(name.to_owned())),
            (Report::Accepted { id, topic }, _) => match self.may_say(name, &topic) {
                true => drop(self.history.accepted.insert(id, topic)),
                false => drop(self.history.outlawed.insert(id)),
            },
            (Report::Paused { epoch, accepted }, _) => {
                self.history.complete.insert((name.to_owned(), epoch), accepted);
            }
            (Report::Delivered { id, topic }, Some(heard)) => heard.delivered.push((id, topic)),
            (Report::Lost(gap), Some(heard)) => heard.lost.push(gap),
            (Report::Started { at }, Some(heard)) => {
                heard.starts.insert(at.publisher, at.at);
            }
            (Report::Refused(refused), _) => {
                self.refused.insert(name.to_owned(), refused);
                self.counted.insert(name.to_owned());
            }
            (Report::Problems(problems), _) => {
                self.problems.insert(name.to_owned(), problems);
            }
            (Report::Delivered { .. } | Report::Lost(_) | Report::Started { .. }, None) => {}
        }
        Ok(())
    }

    fn may_say(&self, service: &str, topic: &str) -> bool {
        let rights = self.rights.get(service).and_then(Option::as_ref);
        let topic: Result<Topic, _> = topic.parse();
        topic.is_ok_and(|topic| rights.is_some_and(|pattern| pattern.matches(&topic)))
    }
}

/// The arguments of a process that signs.
fn speaker(part: &str, name: &str, key: &Path) -> Vec<OsString> {
    vec![part.into(), "--name".into(), name.into(), "--key".into(), key.into()]
}
