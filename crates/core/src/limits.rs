//! Every bound, with its reason and the memory it can cost.
//!
//! A length that a peer sends is compared with one of these before anything is stored, reserved or
//! multiplied.

use core::time::Duration;

/// Longest topic, and longest prefix that can match one. One length byte in the leaf hash.
pub const TOPIC_BYTES: usize = 255;

// ---- connections -------------------------------------------------------------------------------

/// From accept or connect to READY; a slow or silent stranger holds a slot no longer.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes in progress from one address. Each costs under 2 KiB.
pub const HANDSHAKES_PER_ADDRESS: usize = 32;

/// Handshakes in progress in all: at most 2 MiB before anyone has said who he is.
pub const HANDSHAKES: usize = 1_024;

/// Longest command frame other than OFFER: READY metadata, SUBSCRIBE, PING. libzmq sends under 100.
pub const COMMAND_BYTES: usize = 4 * 1_024;

/// Longest OFFER, which only relays take that keep a journal: a commit of one body of the default
/// limit, with its seal.
pub const OFFER_BYTES: usize = BODY_BYTES + SEAL_BYTES + 64 * 1_024;

/// Longest PING context that is echoed (ZMTP 3.1, section "Heartbeats").
pub const PING_CONTEXT_BYTES: usize = 16;

/// Longest message frame accepted from a subscriber: old-style subscriptions are 1 + 255 bytes.
pub const UPSTREAM_FRAME_BYTES: usize = 4 * 1_024;

/// Prefix bytes stored for one peer. Each prefix is charged [`PREFIX_COST`] more, so a peer costs
/// at most this much plus its share of the index.
pub const SUBSCRIPTION_BYTES: usize = 64 * 1_024;

/// What a stored prefix is charged beside its bytes. Kept small, so that 1,000 prefixes fit.
pub const PREFIX_COST: usize = 8;

/// Silence after which a peer is pinged: who says his tips, the last of which is due after 12 s,
/// is never asked.
pub const PING_AFTER: Duration = Duration::from_secs(13);

/// How long an answer to a ping may take, before the next one.
pub const PONG_WITHIN: Duration = Duration::from_secs(3);

/// Pings without any answer after which a peer is dead.
pub const PINGS_MISSED: u32 = 3;

/// A peer that takes no byte of a non-empty queue for this long is cut off.
pub const STALLED: Duration = Duration::from_secs(10);

/// First reconnect delay; doubles with full jitter up to [`RECONNECT_MAX`].
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// Longest reconnect delay.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);

// ---- packets -----------------------------------------------------------------------------------

/// Largest body unless configured otherwise.
pub const BODY_BYTES: usize = 1 << 20;

/// Largest body that any configuration may allow.
pub const BODY_BYTES_HARD: usize = 16 << 20;

/// Largest seal frame: 1,024 heads with small extensions, and proofs.
pub const SEAL_BYTES: usize = 64 * 1_024;

/// Bodies in one packet.
pub const BODIES: usize = 1_024;

/// Bodies in one packet of our own, unless the directory says otherwise: a topic's messages of a
/// full commit make several packets then, of which sixteen are hashed at once, and a reader seldom
/// has to move what came of a packet so far. The seal of each is some 280 bytes.
pub const PACK: usize = 32;

/// Body bytes after which a packet of our own is full, for the same reason.
pub const PACK_BYTES: usize = 16 * 1_024;

/// Largest extension (headers) of one message.
pub const EXTENSION_BYTES: usize = 1_024;

/// Largest packet on the wire, frame headers included: one hard-limit body with topic and seal.
pub const PACKET_BYTES: usize = BODY_BYTES_HARD + SEAL_BYTES + 64 * 1_024;

/// Numbered messages in one commit: `n` of the seal.
pub const COMMIT_MESSAGES: usize = 4_096;

// ---- signing -----------------------------------------------------------------------------------

/// Messages signed together at most when several wait.
pub const SIGN_MESSAGES: usize = 1_024;

/// Body bytes signed together at most; one larger message goes alone. Half of it made messages of
/// 1 KiB an eighth dearer, and those of 16 KiB a tenth.
pub const SIGN_BYTES: usize = 512 * 1_024;

/// Topics of which a publisher remembers the last number, at least: those spoken last. About 12 MiB
/// at worst, when a quarter more are known and forgotten at once.
pub const TOPICS_REMEMBERED: usize = 65_536;

// ---- queues ------------------------------------------------------------------------------------

/// Bytes waiting for one peer before it is given nothing more.
pub const QUEUE_BYTES: usize = 64 << 20;

/// Bytes waiting for all peers together.
pub const QUEUES_BYTES: usize = 512 << 20;

/// Reads of the journal under way at once, for all peers together.
pub const READERS: usize = 8;

/// Bytes that one read of the journal brings, or one record if that is larger.
pub const REPLAY_BYTES: usize = 256 * 1_024;

/// Bytes waiting for a peer below which it is fed from the journal: what comes live of other
/// streams finds its queue short.
pub const REFILL_BYTES: usize = 256 * 1_024;

/// Bytes held for a peer that come live while the last read for it is under way.
pub const JOIN_BYTES: usize = 1 << 20;

/// Bytes waiting for all peers at which a publisher or relay that holds takes nothing more in.
pub const HOLD_BYTES: usize = 4 << 20;

/// Bytes signed and not yet written to the journal beyond which a publisher signs nothing more.
pub const UNWRITTEN_BYTES: usize = 4 << 20;

/// Bytes accepted from the application and not yet numbered.
pub const INTAKE_BYTES: usize = 64 << 20;

/// Bytes delivered and not yet taken by the application.
pub const INBOX_BYTES: usize = 64 << 20;

/// Bytes delivered from which on the application is given time to take them, before more is: what
/// waits longer is no longer in the processor's cache when it is taken (a sixth of all a subscriber
/// does, where one thread does it). Half of a usual second-level cache.
pub const INBOX_WARM_BYTES: usize = 512 * 1_024;

/// How long it is given: one that is slower finds [`INBOX_BYTES`] kept for it.
pub const INBOX_TURN: Duration = Duration::from_millis(1);

/// Bytes handed to one vectored write.
pub const WRITE_BYTES: usize = 256 * 1_024;

/// Slices handed to one vectored write: half of Linux's IOV_MAX.
pub const WRITE_SLICES: usize = 512;

/// Read at once from a busy connection: some fourteen full packets, so that few are cut at an end
/// and most are hashed at once. An idle one has a buffer of 5 KiB. A delivered body keeps alive the
/// buffer that it was read into.
pub const READ_BYTES: usize = 128 * 1_024;

/// Bytes held out of order for one key.
pub const HELD_BYTES: usize = 4 << 20;

/// Disjoint ranges kept per key of what MARKs passed; the oldest are joined beyond it.
pub const RANGES: usize = 1_024;

/// Topics of one stream whose last number a subscriber remembers. About 200 KiB.
pub const TOPICS_HEARD: usize = 1_024;

/// Epochs of one stream from its position on of whose end a subscriber knows. Each keeps a tip.
pub const EPOCHS_AHEAD: usize = 64;

/// How long a link that was asked, and does not move, may still fill a hole that a tip closes.
pub const HOLE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stream stands still before a hole until links are asked once more; doubles up to
/// [`ASK_AGAIN_MAX`], since each answer may repeat up to 4 MiB.
pub const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Longest time between two ASKs for the same hole.
pub const ASK_AGAIN_MAX: Duration = Duration::from_secs(300);

// ---- trust -------------------------------------------------------------------------------------

/// How far from now the seal of an unsolicited first packet may be.
pub const AGE: Duration = Duration::from_secs(30);

/// Commits whose signature is remembered. About 250 bytes each.
pub const VERIFIED_COMMITS: usize = 4_096;

/// Bad proofs or signatures after which a key is muted on a link.
pub const BAD_SEALS: u32 = 10;

/// How long such a key stays muted on that link.
pub const MUTED: Duration = Duration::from_secs(60);

// ---- directory ---------------------------------------------------------------------------------

/// Largest directory file: 100,000 entries of 160 bytes.
pub const DIRECTORY_FILE_BYTES: usize = 16 << 20;

/// All files of a directory together.
pub const DIRECTORY_BYTES: usize = 64 << 20;

/// Drop-in files read beside the main one.
pub const DIRECTORY_FILES: usize = 10_000;

/// Entries above which the sudden loss of more than half needs a second look.
pub const MASS_REMOVAL_ENTRIES: usize = 10;

/// How long until that second, identical read is believed.
pub const MASS_REMOVAL_WAIT: Duration = Duration::from_secs(30);
