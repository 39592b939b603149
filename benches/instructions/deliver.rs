//! From packets that passed the door to messages that an application takes and drops: the machine
//! that orders them, and what makes messages of packets.

use anyhow::{Result, ensure};
use selvedge::Message;
use selvedge_core::open::Trusted;
use selvedge_core::subscriber::{Input, LinkId, Output, Subscriber};
use selvedge_core::topic::Pattern;
use selvedge_core::{KeyId, Now, Position, Time, Wall};

use crate::steps::EPOCH;

const NOW: Now = Now { time: Time(0), wall: Wall(1) };

/// The one way on which packets come.
const LINK: LinkId = LinkId(1);

/// A subscriber of all that one publisher says from its first message on.
pub struct Delivering {
    machine: Subscriber,
    out: Vec<Output>,
}

impl Delivering {
    pub fn new(key: KeyId) -> Result<Delivering> {
        let (mut machine, mut out) = (Subscriber::new(vec![Pattern::all()]), Vec::new());
        let (publisher, at) = ("bench".parse()?, Position::new(EPOCH, 0));
        machine.handle(NOW, Input::LinkUp { link: LINK, selvedge: true }, &mut out);
        machine.handle(NOW, Input::Begin { key, publisher, at }, &mut out);
        machine.handle(NOW, Input::Carries { link: LINK, keys: [key].into() }, &mut out);
        out.clear();
        Ok(Delivering { machine, out })
    }

    /// Takes a commit of `messages`, and each of them.
    pub fn deliver(&mut self, commit: Vec<Trusted>, messages: u16) -> Result<()> {
        for trusted in commit {
            self.machine.handle(NOW, Input::Packet { link: LINK, trusted }, &mut self.out);
        }
        let mut taken = 0;
        for output in self.out.drain(..) {
            if let Output::Deliver(delivery) = output {
                taken += Message::all(delivery).map(drop).count();
            }
        }
        ensure!(taken == usize::from(messages), "{taken} of {messages} were delivered");
        Ok(())
    }
}
