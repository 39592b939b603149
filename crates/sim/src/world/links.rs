//! Links: dialled, read and written in pieces, cut at any byte.

use std::collections::BTreeSet;

use bytes::BytesMut;
use selvedge_core::open::{CommitId, Context, Refusal, open};
use selvedge_core::seal::Packet;
use selvedge_core::wire::{Event as Heard, Frames, Mark, Role, ready, subscribe};
use selvedge_core::{KeyId, Position, Time, fanout, subscriber};

use super::{Event, World};
use crate::link::{Conn, Route, plain_ready};
use crate::node::Node;

/// Items that wait for an application beyond which nothing is read for it.
const INBOX: usize = 200;

impl World {
    pub(super) fn link_of(&self, conn: u64) -> Option<usize> {
        self.conns.iter().position(|at| at.as_ref().is_some_and(|at| at.id == conn))
    }

    pub(super) fn dial(&mut self, link: usize) {
        let Route { dialer, listener, .. } = self.plan.routes[link];
        if self.conns[link].is_some() {
            return;
        }
        if !self.plan.nodes[dialer].up || !self.plan.nodes[listener].up {
            let wait = self.random.within(1_000, 300_000);
            return self.after(wait, Event::Dial(link));
        }
        self.serial += 1;
        self.conns[link] = Some(Conn::new(self.serial));
        self.note(|| format!("link {link}: {dialer} dials {listener}"));
        self.wake(link, true);
        self.wake(link, false);
    }

    pub(super) fn cut(&mut self, link: usize) {
        let Some(mut conn) = self.conns[link].take() else { return };
        let Route { dialer, listener, .. } = self.plan.routes[link];
        self.note(|| format!("link {link}: cut between {dialer} and {listener}"));
        self.harm(listener);
        // Some of what is on its way still arrives, up to any byte.
        let arrives = self.random.below(conn.down.wire.len() as u64 + 1) as usize;
        let bytes = conn.down.wire.split_to(arrives);
        self.read_down(link, &mut conn, bytes);
        let (peer, life) = (conn.peer(), self.plan.nodes[listener].life);
        match self.random.percent(50) {
            true => self.fanout(listener, fanout::Input::Disconnected(peer)),
            false => self.soon(4_000_000, Event::Noticed { node: listener, life, peer }),
        }
        self.subscriber(dialer, subscriber::Input::LinkDown(conn.link()));
        let wait = self.random.within(1_000, 500_000);
        self.after(wait, Event::Dial(link));
    }

    /// Whether a node can hear over one of its links now.
    pub(super) fn hears(&self, link: usize) -> bool {
        let open = self.blocked[link].iter().all(|until| *until <= self.now);
        open && self.conns[link].as_ref().is_some_and(|conn| conn.ready)
    }

    /// Sees to it that bytes on their way arrive.
    pub(super) fn wake(&mut self, link: usize, down: bool) {
        let step = 1 + self.random.below(self.plan.routes[link].step);
        let Some(conn) = &mut self.conns[link] else { return };
        let (id, pipe) = (conn.id, if down { &mut conn.down } else { &mut conn.up });
        if !pipe.scheduled && !pipe.is_idle() {
            pipe.scheduled = true;
            self.after(step, Event::Move { link, conn: id, down });
        }
    }

    pub(super) fn step(&mut self, link: usize, id: u64, down: bool) {
        let Route { dialer, listener, piece, .. } = self.plan.routes[link];
        // Subscriptions go out in one write, and are few.
        let piece = if down { 1 + self.random.below(piece) as usize } else { usize::MAX };
        let open_at = self.blocked[link][usize::from(!down)];
        if open_at > self.now {
            return self.at(open_at, Event::Move { link, conn: id, down });
        }
        if down && self.plan.nodes[dialer].app.queue.len() > INBOX {
            return self.after(5_000, Event::Move { link, conn: id, down });
        }
        let Some(mut conn) = self.conns[link].take_if(|conn| conn.id == id) else { return };
        let pipe = if down { &mut conn.down } else { &mut conn.up };
        pipe.scheduled = false;
        let (bytes, wrote) = pipe.step(piece);
        let peer = conn.peer();
        match down {
            true => self.read_down(link, &mut conn, bytes),
            false => self.read_up(link, &mut conn, bytes),
        }
        self.conns[link] = Some(conn);
        self.wake(link, true);
        self.wake(link, false);
        if let Some(done) = wrote {
            self.fanout(listener, fanout::Input::Wrote { peer, done });
        }
    }

    /// What the dialer reads.
    fn read_down(&mut self, link: usize, conn: &mut Conn, bytes: BytesMut) {
        let Route { dialer, plain, unmarked, .. } = self.plan.routes[link];
        let mut events = Vec::new();
        conn.dialer.input.unsplit(bytes);
        if let Err(fault) = conn.dialer.engine.handle(&mut conn.dialer.input, &mut events) {
            self.ledger.problem(format!("link {link}: {fault}"));
        }
        for event in events {
            match event {
                Heard::Send(bytes) => conn.up.send(&bytes),
                Heard::Ready(peer) => {
                    assert_eq!(peer.selvedge, !plain);
                    conn.ready = true;
                    let (id, selvedge) = (conn.link(), peer.selvedge);
                    self.subscriber(dialer, subscriber::Input::LinkUp { link: id, selvedge });
                    let mut prefixes = self.plan.nodes[dialer].prefixes();
                    // As the library does: a stream may begin with its tip.
                    prefixes.sort_by_key(|prefix| prefix.starts_with('$'));
                    for prefix in prefixes {
                        conn.up.send(&subscribe(prefix.as_bytes(), peer.minor));
                    }
                    let keys = self.carried(link);
                    let input = subscriber::Input::Carries { link: id, keys };
                    self.in_world(link, conn, |world| world.subscriber(dialer, input));
                }
                Heard::Message(frames) => self.message(link, conn, frames),
                Heard::Mark(mut mark) if !unmarked || mark.flags & Mark::ANSWER != 0 => {
                    self.note(|| format!("link {link}: to {dialer} {mark:?}"));
                    if self.plan.knobs.blind_marks {
                        mark.from = Position::default();
                    }
                    self.subscriber(dialer, subscriber::Input::Mark { link: conn.link(), mark });
                }
                _ => {}
            }
        }
    }

    fn message(&mut self, link: usize, conn: &mut Conn, frames: Frames) {
        let node = self.plan.routes[link].dialer;
        let prefixes = self.plan.nodes[node].prefixes();
        let matches =
            |prefix: &String| selvedge_core::wire::matches(prefix.as_bytes(), frames.part(0));
        if !prefixes.iter().any(matches) {
            self.ledger.problem(format!("link {link}: {frames:?} was not subscribed to"));
        }
        let packet = Packet::parse(frames).unwrap();
        let came = conn.came.entry((CommitId::of(&packet), packet.first_off())).or_default();
        *came += 1;
        if *came > 1 && !packet.is_tip() && !self.plan.keeps {
            self.ledger.problem(format!("link {link}: {:?} again", packet.header()));
        }
        self.ledger.came(&packet);
        let Some(subscriber) = self.plan.nodes[node].subscriber.as_ref() else { return };
        let key = packet.header().key;
        let context = Context {
            directory: &self.directory,
            horizon: subscriber.position(key),
            cached: self.cache.find(CommitId::of(&packet)),
            now: Time(self.now),
        };
        let (topic, start) = (packet.topic().clone(), packet.start());
        match open(packet, &context, &mut conn.budget) {
            Ok(opened) => {
                self.note(|| format!("link {link}: to {node} {topic} {start} of {key}"));
                if let Some(verified) = opened.verified {
                    self.cache.insert(verified);
                }
                let (link, trusted) = (conn.link(), opened.trusted);
                let announces = trusted.packet().is_tip().then(|| trusted.packet().start());
                self.subscriber(node, subscriber::Input::Packet { link, trusted });
                if let Some(announces) = announces {
                    self.ledger.tip(node, key, announces);
                }
            }
            Err(Refusal::Duplicate) => {}
            Err(why) => self.ledger.problem(format!("link {link}: {why}")),
        }
    }

    /// What the listener reads.
    fn read_up(&mut self, link: usize, conn: &mut Conn, bytes: BytesMut) {
        let Route { listener, plain, .. } = self.plan.routes[link];
        let mut events = Vec::new();
        conn.listener.input.unsplit(bytes);
        conn.listener.engine.handle(&mut conn.listener.input, &mut events).unwrap();
        let peer = conn.peer();
        for event in events {
            let input = match event {
                Heard::Send(_) => {
                    let ready = if plain { plain_ready() } else { ready(Role::Publisher) };
                    conn.down.send(&ready);
                    continue;
                }
                Heard::Ready(_) => fanout::Input::Connected { peer, selvedge: !plain },
                Heard::Subscribe(prefix) => fanout::Input::Subscribe { peer, prefix },
                Heard::Ask(ask) => fanout::Input::Ask { peer, ask },
                _ => continue,
            };
            self.in_world(link, conn, |world| world.fanout(listener, input));
        }
    }

    /// Does something that may write to a connection which is in the caller's hands.
    fn in_world(&mut self, link: usize, conn: &mut Conn, act: impl FnOnce(&mut World)) {
        let held = std::mem::replace(conn, Conn::new(conn.id));
        self.conns[link] = Some(held);
        act(self);
        if let Some(held) = self.conns[link].take() {
            *conn = held;
        }
    }

    /// The streams that a link can bring.
    pub(super) fn carried(&self, link: usize) -> BTreeSet<KeyId> {
        let listener = &self.plan.nodes[self.plan.routes[link].listener];
        let listed = self.plan.nodes.iter().filter(|node| node.listed);
        match listener.key() {
            Some(key) => listed.filter_map(Node::key).filter(|other| *other == key).collect(),
            None => listed.filter_map(Node::key).collect(),
        }
    }
}
