//! What a subscriber does around its machine: hand over, handle, keep a cursor.

use std::rc::Rc;

use selvedge_core::{KeyId, Position, subscriber};

use super::judge::describe_output;
use super::{Event, World};
use crate::app::Item;
use crate::node::{First, Kind, Lies, Node};

/// Between two writes of a cursor at most, in microseconds.
const SAVE: u64 = 100_000;

impl World {
    /// Begins the streams that are to begin elsewhere than now.
    pub(super) fn begin_streams(&mut self, node: usize, is_first: bool) {
        let Some(first) = self.plan.nodes[node].remembers() else { return };
        let known: Vec<(KeyId, _)> = self
            .plan
            .nodes
            .iter()
            .filter(|other| other.listed)
            .filter_map(|other| Some((other.key()?, other.publisher()?.clone())))
            .collect();
        for (key, publisher) in known {
            let this = &mut self.plan.nodes[node];
            if is_first && first == First::Now {
                this.now.insert(key);
            }
            let at = match this.places().get(&key) {
                Some(at) => *at,
                None if this.now.contains(&key) => continue,
                None => Position::default(),
            };
            let Some(subscriber) = &this.subscriber else { return };
            if subscriber.position(key).is_none() {
                self.ledger.begins(node, key, at);
                self.subscriber(node, subscriber::Input::Begin { key, publisher, at });
            }
        }
    }

    pub(super) fn subscriber(&mut self, node: usize, input: subscriber::Input) {
        let now = self.time(node);
        let mut out = Vec::new();
        let this = &mut self.plan.nodes[node];
        let (true, Some(subscriber)) = (this.up, this.subscriber.as_mut()) else { return };
        subscriber.handle(now, input, &mut out);
        for output in out {
            self.note(|| format!("node {node}: {}", describe_output(&output)));
            self.hand_over(node, &output);
            self.relay(node, output);
        }
    }

    fn hand_over(&mut self, node: usize, output: &subscriber::Output) {
        match output {
            subscriber::Output::Started { key, at, .. } => {
                let wanted = self.plan.nodes[node].wanted();
                // Who reaches nobody who holds more begins with what can be reached.
                let reaches = self.reaches(node, *key, |link| self.hears(link));
                let holds = self.holder(*key);
                let has = |at| reaches && holds(at);
                self.ledger.started(node, *key, *at, &wanted, has);
                self.give(node, Item::Started(*key, *at));
            }
            subscriber::Output::Deliver(delivery) => {
                let (key, end) = (delivery.key, delivery.header.end());
                let delivery = Rc::new(delivery.clone());
                for (seq, ..) in delivery.messages() {
                    let at = Position::new(delivery.header.epoch, seq);
                    self.give(node, Item::Message(at, delivery.clone()));
                }
                self.give(node, Item::Passed(key, end));
            }
            subscriber::Output::Passed { key, upto } => {
                self.give(node, Item::Passed(*key, *upto));
            }
            subscriber::Output::Lost(lost) => self.give(node, Item::Lost(lost.clone())),
            subscriber::Output::Ask { link, ask } => {
                if let Some(link) = self.link_of(link.0) {
                    if let Some(conn) = &mut self.conns[link] {
                        conn.up.send(&ask.encode());
                    }
                    self.wake(link, false);
                }
            }
            subscriber::Output::Superseded { .. } if !self.plan.faults.restarts() => {
                self.ledger.problem(format!("node {node}: {output:?}"));
            }
            subscriber::Output::Superseded { .. }
            | subscriber::Output::Tip(_)
            | subscriber::Output::Evidence { .. } => {}
        }
    }

    /// To the application. Only one that keeps a cursor takes its time.
    fn give(&mut self, node: usize, item: Item) {
        match self.plan.nodes[node].kind {
            Kind::Subscriber { cursor: Some(_), .. } => {
                self.plan.nodes[node].app.queue.push_back(item);
            }
            _ => self.judge_item(node, &item),
        }
    }

    fn judge_item(&mut self, node: usize, item: &Item) {
        let wanted = self.plan.nodes[node].wanted();
        match item {
            Item::Message(at, delivery) => self.ledger.handled(node, *at, &wanted, delivery),
            Item::Lost(lost) => {
                let has = self.holder(lost.key);
                self.ledger.lost(node, lost, &wanted, has);
            }
            Item::Passed(..) | Item::Started(..) => {}
        }
    }

    /// What the publisher of a stream holds now, as far as anyone can know.
    pub(super) fn holder(&self, key: KeyId) -> impl Fn(Position) -> bool + use<> {
        let is_it = |node: &&Node| node.key() == Some(key) && node.up;
        let store = self.plan.nodes.iter().find(is_it).and_then(|node| node.store.as_ref());
        let lied = self.plan.faults.lies != Lies::Never;
        let view = store.filter(|_| !lied).map(|store| store.view());
        move |at| view.as_ref().is_some_and(|view| view.has(key, at))
    }

    /// The application handles some of what waits for it.
    pub(super) fn handle(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        let life = this.life;
        if this.naps_until > self.now {
            let until = this.naps_until;
            return self.at(until, Event::Handle { node, life });
        }
        for _ in 0..1 + self.random.below(8) {
            let Some(item) = self.plan.nodes[node].app.queue.pop_front() else { break };
            self.judge_item(node, &item);
            self.plan.nodes[node].app.handled(&item);
        }
        let most = match self.plan.nodes[node].app.queue.is_empty() {
            true => 20_000,
            false => self.plan.handling,
        };
        self.soon(most, Event::Handle { node, life });
    }

    /// The cursor's thread: writes what moved.
    pub(super) fn save(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        let life = this.life;
        let places = match (&this.subscriber, self.plan.knobs.cursor_before_handler) {
            (Some(subscriber), true) => subscriber.positions().collect(),
            _ => this.app.places.clone(),
        };
        if this.app.moved(&places) && this.app.write(&this.disk, &places).is_ok() {
            return self.soon(10_000, Event::Saved { node, life });
        }
        self.soon(SAVE, Event::Save { node, life });
    }

    pub(super) fn saved(&mut self, node: usize) {
        let this = &mut self.plan.nodes[node];
        let life = this.life;
        let _ = this.app.sync(&this.disk); // it is written again, in the same place
        self.soon(SAVE, Event::Save { node, life });
    }
}
