//! What a publisher does around its author, and a relay around its subscriber: keep, then send.

use bytes::Bytes;
use selvedge_core::seal::{Commit, ContentType, Draft};
use selvedge_core::{Position, Wall, author, fanout, subscriber};
use selvedge_journal::AppendError;

use super::{Event, World};
use crate::node::{Kind, Lies};
use crate::plan::topic;
use crate::store::{Kept, Step};

/// Messages of one publisher in one history.
const MESSAGES: u64 = 150;
/// Steps written together at most.
const BATCH: usize = 64;
/// How often tips learn what the journal still holds, in microseconds.
const LOOK: u64 = 1_000_000;

impl World {
    pub(super) fn say(&mut self, node: usize) {
        let said = self.said.entry(node).or_default();
        let Kind::Publisher(publisher) = &self.plan.nodes[node].kind else { return };
        let (logs, keeps) = (publisher.logs, publisher.keeps);
        if self.now > self.plan.busy || *said >= MESSAGES || self.plan.nodes[node].closing {
            return;
        }
        let count = 1 + self.random.below(self.plan.burst);
        let logged = keeps && self.random.percent(logs);
        let mut drafts = Vec::new();
        for _ in 0..count {
            *said += 1;
            let topic = topic(&mut self.random).parse().unwrap();
            let long = if self.random.percent(3) { self.random.below(6_000) as usize } else { 0 };
            let body = Bytes::from(format!("{node} {said} {}", ".".repeat(long)));
            let time = Wall(self.now);
            let extension = Bytes::new();
            drafts.push(Draft { topic, ctype: ContentType::TEXT, time, extension, body });
        }
        let this = &mut self.plan.nodes[node];
        if logged {
            this.logged.extend(this.accepted..this.accepted + count);
        }
        this.accepted += count;
        let life = this.life;
        self.author(node, author::Input::Drafts(drafts));
        let pause = 1 + self.random.below(self.plan.pause);
        self.after(pause, Event::Say { node, life });
    }

    pub(super) fn author(&mut self, node: usize, input: author::Input) {
        let now = self.time(node);
        let mut out = Vec::new();
        let this = &mut self.plan.nodes[node];
        let (true, Some(author)) = (this.up, this.author.as_mut()) else { return };
        author.handle(now, input, &mut out);
        let life = this.life;
        for output in out {
            let Kind::Publisher(publisher) = &self.plan.nodes[node].kind else { return };
            match output {
                author::Output::Seal(unsealed) => {
                    self.ledger.numbered(&unsealed);
                    let commit = unsealed.seal(&publisher.identity, &mut Default::default());
                    self.ledger.sealed(&commit);
                    self.soon(300, Event::Sealed { node, life, commit });
                }
                author::Output::Send(commit) => self.commit(node, commit),
                author::Output::Closed => self.soon(500_000, Event::Gone { node, life }),
            }
        }
    }

    /// A commit of a publisher, or its tip: first into the journal, in order, then to its peers.
    fn commit(&mut self, node: usize, commit: Commit) {
        if self.plan.knobs.no_tips && commit.header.n == 0 {
            return;
        }
        let (from, end) = (commit.header.start(), commit.header.end());
        let this = &mut self.plan.nodes[node];
        let mut kept = None;
        if this.store.is_some() && commit.header.n == 0 && commit.header.commit == 0 {
            self.push(node, Step::Note { at: from, tip: commit.clone() });
        }
        let this = &mut self.plan.nodes[node];
        if this.store.is_some() && commit.header.n > 0 {
            let durable = this.logged.range(from.seq..end.seq).next().is_some();
            kept = Some(Kept { from, durable });
        }
        if self.plan.knobs.send_before_append {
            self.send(node, &commit);
        }
        self.push(node, Step::Commit { commit, kept });
    }

    /// To whoever listens to a publisher.
    fn send(&mut self, node: usize, commit: &Commit) {
        self.note(|| format!("node {node} says {}", super::judge::describe(commit)));
        self.ledger.sent(commit);
        self.fanout(node, fanout::Input::Commit(commit));
    }

    /// Everything that is to be sent goes through here, so that nothing is sent that is not kept.
    pub(super) fn push(&mut self, node: usize, step: Step) {
        let this = &mut self.plan.nodes[node];
        if this.store.is_none() {
            return self.tell(node, step, true);
        }
        this.steps.push_back(step);
        if !this.writing {
            this.writing = true;
            let life = this.life;
            self.soon(500, Event::Write { node, life });
        }
    }

    /// The journal's thread: what waits is written together.
    pub(super) fn write(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        let Some(store) = &mut this.store else { return };
        let count = this.steps.len().min(BATCH);
        let batch: Vec<Step> = this.steps.drain(..count).collect();
        let appended = store.append(&batch);
        let life = this.life;
        let written = appended.is_ok();
        if let Err(error) = appended {
            if matches!(error, AppendError::Lost { .. }) {
                this.epochs.doubt();
            }
            self.note(|| format!("node {node} cannot append: {error}"));
            self.damaged(node);
        }
        let durable =
            |step: &Step| matches!(step, Step::Commit { kept: Some(kept), .. } if kept.durable);
        if batch.iter().any(durable) && written {
            let early = self.plan.knobs.receipt_before_sync;
            if early {
                self.receipts(node, &batch);
            }
            // Who has told already is in no hurry.
            let most = if early { 500_000 } else { 5_000 };
            self.soon(most, Event::Sync { node, life, batch, written });
        } else {
            self.wrote(node, batch, written);
        }
    }

    pub(super) fn sync(&mut self, node: usize, batch: Vec<Step>, written: bool) {
        let Some(store) = &mut self.plan.nodes[node].store else { return };
        let synced = store.sync();
        if let Err(error) = &synced {
            self.note(|| format!("node {node} cannot sync: {error}"));
            self.plan.nodes[node].epochs.doubt();
            self.damaged(node);
        }
        self.wrote(node, batch, written && synced.is_ok());
    }

    /// The thread is done with a batch: it goes on, and the node hears of it.
    fn wrote(&mut self, node: usize, batch: Vec<Step>, written: bool) {
        let retains = self.plan.faults.retention && self.random.percent(20);
        let this = &mut self.plan.nodes[node];
        let life = this.life;
        if (retains || !written) && this.store.as_mut().is_some_and(|store| store.retain()) {
            self.note(|| format!("node {node} lets go of a segment"));
            self.damaged(node);
            let this = &mut self.plan.nodes[node];
            let oldest = this.key().and_then(|key| this.store.as_ref()?.oldest(key));
            let none = this.author.as_ref().map(|author| Position::new(author.next().epoch, 0));
            this.kept_from = oldest.or(none).unwrap_or_default().max(this.kept_from);
        }
        let this = &mut self.plan.nodes[node];
        this.writing = !this.steps.is_empty();
        if this.writing {
            self.soon(500, Event::Write { node, life });
        }
        let at = self.random.below(1_000) + self.now;
        let at = at.max(self.plan.nodes[node].written_at);
        self.plan.nodes[node].written_at = at;
        self.at(at, Event::Written { node, life, batch, written });
    }

    /// Lets peers have what is kept, or could not be.
    pub(super) fn written(&mut self, node: usize, batch: Vec<Step>, written: bool) {
        if written {
            self.receipts(node, &batch);
        }
        for step in batch {
            self.tell(node, step, written);
        }
        if self.plan.nodes[node].author.is_some() {
            self.turn(node);
        }
    }

    fn receipts(&mut self, node: usize, batch: &[Step]) {
        for step in batch {
            let Step::Commit { commit, kept: Some(kept) } = step else { continue };
            let header = commit.header;
            if kept.durable && self.plan.nodes[node].author.is_some() {
                let logged = &self.plan.nodes[node].logged;
                for seq in logged.range(header.first..header.end().seq) {
                    self.ledger.receipt(header.key, Position::new(header.epoch, *seq));
                }
            }
        }
    }

    fn tell(&mut self, node: usize, step: Step, written: bool) {
        let speaks = self.plan.nodes[node].author.is_some();
        match step {
            Step::Commit { commit, kept: Some(_) } if speaks && !written => {
                let header = commit.header;
                self.note(|| format!("node {node} voids {}+{}", header.start(), header.n));
                self.author(node, author::Input::Void(header.first..header.end().seq));
                self.fanout(node, fanout::Input::Gone { key: header.key, upto: header.end() });
            }
            Step::Commit { .. } if speaks && self.plan.knobs.send_before_append => {}
            Step::Commit { commit, .. } if speaks => self.send(node, &commit),
            Step::Commit { commit, .. } => self.fanout(node, fanout::Input::Commit(&commit)),
            Step::Passed { key, upto } => self.fanout(node, fanout::Input::Passed { key, upto }),
            Step::Gone { key, upto } => self.fanout(node, fanout::Input::Gone { key, upto }),
            Step::Note { .. } if speaks => {} // its tip comes
            Step::Note { tip, .. } => self.fanout(node, fanout::Input::Evidence(&tip)),
        }
    }

    /// A publisher's turn: its tips tell what its journal still holds.
    pub(super) fn turn(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        if let (Some(author), Some(store)) = (&this.author, &this.store)
            && this.looked + LOOK <= self.now
        {
            this.looked = self.now;
            let none = Position::new(author.next().epoch, 0);
            let oldest = this.key().and_then(|key| store.oldest(key)).unwrap_or(none);
            self.author(node, author::Input::Oldest(oldest));
        }
        self.author(node, author::Input::Tick);
    }

    /// What a relay makes of its subscriber's outputs.
    pub(super) fn relay(&mut self, node: usize, output: subscriber::Output) {
        let Kind::Relay { lies, .. } = self.plan.nodes[node].kind else { return };
        match output {
            subscriber::Output::Deliver(delivery) => {
                let mut commit = delivery.to_commit();
                if lies == Lies::Withholds && self.random.percent(20) {
                    self.harm(node);
                    let kept = self.random.below(commit.packets.len() as u64) as usize;
                    let packet = commit.packets.remove(kept);
                    self.note(|| format!("node {node} keeps {} back", packet.topic));
                }
                let (key, start, end) = (delivery.key, commit.header.start(), commit.header.end());
                let from = self.plan.nodes[node].since.insert(key, end).unwrap_or(start);
                let kept = Some(Kept { from, durable: false });
                self.push(node, Step::Commit { commit, kept });
            }
            subscriber::Output::Passed { key, upto } => {
                let more = if lies == Lies::Anticipates { self.random.below(5) } else { 0 };
                if more > 0 {
                    self.harm(node);
                    self.note(|| format!("node {node} passes {more} more of {key}"));
                }
                let upto = Position::new(upto.epoch, upto.seq + more);
                self.push(node, Step::Passed { key, upto });
            }
            subscriber::Output::Lost(lost) => {
                let since = self.plan.nodes[node].since.entry(lost.key).or_default();
                *since = lost.to.max(*since);
                self.push(node, Step::Gone { key: lost.key, upto: lost.to });
            }
            subscriber::Output::Started { key, at, .. } => {
                self.plan.nodes[node].since.insert(key, at);
                self.push(node, Step::Passed { key, upto: at });
            }
            subscriber::Output::Tip(tip) => {
                self.push(node, Step::Commit { commit: tip.to_commit(), kept: None });
            }
            subscriber::Output::Evidence { .. } if self.plan.knobs.no_notes => {}
            subscriber::Output::Evidence { key, at, tip } => {
                self.plan.nodes[node].since.insert(key, at);
                self.push(node, Step::Note { at, tip: tip.to_commit() });
            }
            subscriber::Output::Ask { .. } | subscriber::Output::Superseded { .. } => {}
        }
    }
}
