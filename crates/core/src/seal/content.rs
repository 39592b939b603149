//! What a body is, as its publisher says: the `ctype` of a head.

/// A content type. Bodies of reserved types are verified, stored and relayed like any other, and
/// handed over as opaque bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentType(pub u16);

impl ContentType {
    /// Opaque bytes.
    pub const BYTES: ContentType = ContentType(0);
    /// UTF-8 text.
    pub const TEXT: ContentType = ContentType(1);
    /// JSON (RFC 8259).
    pub const JSON: ContentType = ContentType(2);
    /// MessagePack.
    pub const MESSAGE_PACK: ContentType = ContentType(3);
    /// CBOR (RFC 8949).
    pub const CBOR: ContentType = ContentType(4);
    /// Protocol buffers.
    pub const PROTOBUF: ContentType = ContentType(5);
    /// A publisher's heartbeat; never an application's.
    pub const TIP: ContentType = ContentType(6);

    /// The application's own type, `number` below 0x1000.
    pub const fn application(number: u16) -> ContentType {
        ContentType(0x8000 | (number & 0x0fff))
    }

    /// Whether one of the reserved bits is set (0x4000 compressed, 0x2000 sealed, 0x1000 fragment).
    pub const fn is_reserved(self) -> bool {
        self.0 & 0x7000 != 0
    }

    /// The name that JSON output uses; `None` for types that have none.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            ContentType::BYTES => "bytes",
            ContentType::TEXT => "text",
            ContentType::JSON => "json",
            ContentType::MESSAGE_PACK => "msgpack",
            ContentType::CBOR => "cbor",
            ContentType::PROTOBUF => "protobuf",
            ContentType::TIP => "tip",
            _ => return None,
        })
    }
}
