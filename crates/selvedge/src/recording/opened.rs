//! The packets of a commit that was kept, through the door.

use selvedge_core::Time;
use selvedge_core::directory::Directory;
use selvedge_core::open::{Budget, Context, Refusal, Trusted, Verified, open};
use selvedge_core::seal::{Commit, Malformed, Packet};
use selvedge_core::topic::Topic;
use selvedge_core::wire::Frames;

/// Judges those packets of a commit whose topic is `wanted`; one signature is verified for all.
pub fn packets(
    commit: &Commit,
    directory: &Directory,
    mut wanted: impl FnMut(&Topic) -> bool,
) -> Vec<Result<Trusted, (Topic, Refusal)>> {
    let mut cached: Option<Verified> = None;
    let kept = commit.packets.iter().filter(|sealed| wanted(&sealed.topic));
    let judged = kept.map(|sealed| {
        let refused = |why| (sealed.topic.clone(), why);
        let wire = sealed.wire.first().cloned().unwrap_or_default(); // one slice, as it was read
        let packet = Frames::parse(wire).map_err(|_| Malformed::Frames);
        let packet = packet.and_then(Packet::parse).map_err(|why| refused(why.into()))?;
        let numbers = if packet.is_tip() { 0 } else { packet.count() };
        if *packet.header() != commit.header || numbers != sealed.numbers {
            return Err(refused(Malformed::Counts.into()));
        }
        let context =
            Context { directory, horizon: None, cached: cached.as_ref(), now: Time::default() };
        // A file is no peer that could be muted: one bad packet says nothing about the next.
        let opened = open(packet, &context, &mut Budget::default()).map_err(refused)?;
        cached = opened.verified.or(cached);
        Ok(opened.trusted)
    });
    judged.collect()
}
