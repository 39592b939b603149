//! What goes wrong, when, and what of it can destroy something.

use std::path::Path;

use selvedge_core::author;
use selvedge_journal::disk::Disk;

use super::{Event, World};
use crate::node::{Kind, Node};
use crate::store::FOLDER;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Stop(usize, Stop),
    Cut(usize),
    /// Nothing passes a link: down, and up.
    Block(usize, bool, bool, u64),
    Full(usize, u64),
    FailSync(usize),
    Flip(usize),
    /// It is killed, and never comes back.
    Retire(usize),
    Clock(usize, i64),
    Nap(usize, u64),
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As a service does that is told to.
    Close,
    /// What was written stays.
    Kill,
    /// What was written and not synced may be gone.
    Power,
}

impl World {
    pub(super) fn schedule_faults(&mut self) {
        let faults = self.plan.faults;
        for route in self.plan.routes.clone() {
            // What comes late over a link without MARKs is lost, and over relays some is late; what
            // is never MARKed is lost, too.
            let relayed = matches!(self.plan.nodes[route.listener].kind, Kind::Relay { .. });
            if route.unmarked || route.plain && (faults.any() || relayed) {
                self.harm(route.listener);
            }
        }
        self.maybe(faults.retires, Fault::Retire(0)); // the first node is a publisher
        if faults.retires {
            self.schedule_a_late_look();
        }
        let rounds = self.random.below(5);
        for _ in 0..rounds {
            let node = self.random.below(self.plan.nodes.len() as u64) as usize;
            let link = self.random.below(self.plan.routes.len() as u64) as usize;
            let (down, up) = *self.random.pick(&[(true, true), (true, false), (false, true)]);
            let long = self.random.below(6_000_000);
            let ahead = self.random.below(20_000_000) as i64 - 10_000_000;
            let keeps = self.plan.nodes[node].keeps();
            let hears = matches!(self.plan.nodes[node].kind, Kind::Subscriber { .. });
            self.maybe(faults.cuts, Fault::Cut(link));
            self.maybe(faults.partitions, Fault::Block(link, down, up, long));
            self.maybe(faults.full && keeps, Fault::Full(node, long / 4));
            self.maybe(faults.syncs && keeps, Fault::FailSync(node));
            self.maybe(faults.flips && keeps, Fault::Flip(node));
            self.maybe(faults.clocks, Fault::Clock(node, ahead));
            self.maybe(faults.naps && hears, Fault::Nap(node, long));
            let (dies, clean) = match self.plan.nodes[node].kind {
                Kind::Publisher(_) => (faults.kills, self.random.percent(40)),
                Kind::Relay { .. } => (faults.relay_kills, keeps && self.random.percent(20)),
                Kind::Subscriber { .. } => (faults.reader_kills, false),
            };
            let dirty = if faults.power { Stop::Power } else { Stop::Kill };
            let how = if clean { Stop::Close } else { dirty };
            self.maybe(dies || faults.power, Fault::Stop(node, how));
        }
    }

    /// Archives start again after a publisher of several epochs is gone: all that they know of it
    /// is on their disks.
    fn schedule_a_late_look(&mut self) {
        for _ in 0..self.random.below(4) {
            let at = self.random.below(self.plan.busy);
            self.at(at, Event::Fault(Fault::Stop(0, Stop::Kill)));
        }
        for node in 0..self.plan.nodes.len() {
            let relays = matches!(self.plan.nodes[node].kind, Kind::Relay { .. });
            if relays && self.random.percent(60) {
                self.at(self.plan.busy, Event::Fault(Fault::Stop(node, Stop::Kill)));
            }
        }
    }

    fn maybe(&mut self, happens: bool, fault: Fault) {
        let at = self.random.below(self.plan.busy);
        if happens {
            self.at(at, Event::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        let now = self.now;
        match fault {
            Fault::Stop(node, how) => self.stop(node, how),
            Fault::Cut(link) => self.cut(link),
            Fault::Block(link, down, up, long) => {
                let until = |blocks: bool| if blocks { now + long } else { 0 };
                self.blocked[link] = [until(down), until(up)];
                if self.random.percent(50) {
                    let wait = self.random.below(long);
                    self.after(wait, Event::Fault(Fault::Cut(link)));
                }
            }
            Fault::Full(node, long) => {
                self.plan.nodes[node].disk.set_capacity(match long {
                    0 => u64::MAX,
                    _ => 0,
                });
                if long > 0 {
                    self.after(long, Event::Fault(Fault::Full(node, 0)));
                }
            }
            Fault::FailSync(node) => self.plan.nodes[node].disk.fail_syncs(1),
            Fault::Flip(node) => self.flip(node),
            Fault::Retire(node) => {
                self.plan.nodes[node].retired = true;
                self.stop(node, Stop::Kill);
            }
            Fault::Clock(node, by) => self.plan.nodes[node].offset = by,
            Fault::Nap(node, long) => self.plan.nodes[node].naps_until = now + long,
        }
    }

    /// Turns a bit over in a journal. Who reads it on finds out when it starts again.
    fn flip(&mut self, node: usize) {
        let disk = self.plan.nodes[node].disk.clone();
        let mut files = disk.list(Path::new(FOLDER)).unwrap_or_default();
        files.retain(|name| name.ends_with(".segment"));
        files.sort();
        if files.is_empty() {
            return;
        }
        let path = Path::new(FOLDER).join(self.random.pick(&files));
        let size = disk.contents(&path).map_or(0, |bytes| bytes.len() as u64);
        let bit = self.random.below(size.clamp(1, 8_000) * 8);
        disk.flip(&path, bit);
        self.damaged(node);
        let wait = self.random.below(1_000_000);
        self.after(wait, Event::Fault(Fault::Stop(node, Stop::Kill)));
    }

    fn stop(&mut self, node: usize, how: Stop) {
        if !self.plan.nodes[node].up || self.plan.nodes[node].closing {
            return;
        }
        self.harm(node);
        let this = &mut self.plan.nodes[node];
        match how {
            Stop::Close if this.author.is_some() => {
                this.closing = true;
                return self.author(node, author::Input::Close);
            }
            Stop::Close => return self.close(node),
            Stop::Kill => this.disk = this.disk.kill(),
            Stop::Power => {
                this.disk = this.disk.crash();
                this.boot += 1;
                self.damaged(node);
            }
        }
        self.down(node);
    }

    /// The end of a node that was told to: everything is written first.
    pub(super) fn close(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        let life = this.life;
        if this.writing || this.written_at >= self.now && this.store.is_some() {
            return self.after(1_000, Event::Gone { node, life });
        }
        self.note(|| format!("node {node} has closed"));
        let this = &mut self.plan.nodes[node];
        if let Some(author) = &this.author {
            this.epochs.end(author.next().seq);
        }
        if let Some(store) = this.store.take()
            && !store.close()
        {
            self.damaged(node);
        }
        let this = &mut self.plan.nodes[node];
        this.disk = this.disk.kill();
        self.down(node);
    }

    /// Nothing goes wrong any more. Who has a damaged journal starts again, to know of it.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.note(|| "nothing goes wrong any more".to_owned());
        self.blocked.fill([0; 2]);
        for node in 0..self.plan.nodes.len() {
            let this = &mut self.plan.nodes[node];
            this.disk.set_capacity(u64::MAX);
            this.disk.fail_syncs(0);
            if this.ailing && this.store.is_some() && !this.closing {
                self.stop(node, Stop::Kill);
            }
        }
    }

    /// What this node carries can from now on be lost, as far as no journal has it.
    pub(super) fn harm(&mut self, node: usize) {
        let live = self.plan.nodes.iter().filter(|node| !node.keeps()).filter_map(Node::key);
        let live: Vec<_> = match self.plan.nodes[node].key() {
            Some(key) => live.filter(|other| *other == key).collect(),
            None => live.collect(),
        };
        self.ledger.harmed.extend(live);
    }

    /// What this node's journal holds can from now on be lost.
    pub(super) fn damaged(&mut self, node: usize) {
        self.harm(node);
        self.plan.nodes[node].ailing = true;
        self.ledger.harmed.extend(self.plan.nodes[node].key());
    }
}
