//! MessagePack as JSON, where that loses nothing: no binary, no extension, keys are texts, numbers
//! are finite. Without recursion, at most 100 deep, so that every JSON parser can read it.

use rmp::Marker;
use rmp::decode;
use serde::Serialize;

/// How deep arrays and maps may be nested; serde_json reads 127, others 100.
const DEPTH: usize = 100;

/// An array or map that is under way.
struct Open {
    /// Values that it still has; of a map, keys count too.
    left: u64,
    map: bool,
    first: bool,
}

/// The same value as JSON; `None` if there is none, or `bytes` are not exactly one value.
pub fn to_json(bytes: &[u8]) -> Option<String> {
    let (mut rest, mut out) = (bytes, Vec::new());
    let mut open: Vec<Open> = Vec::new();
    loop {
        let is_key = open.last_mut().is_some_and(|level| level.separate(&mut out));
        match value(&mut rest, &mut out)? {
            Some(_) if is_key || open.len() == DEPTH => return None,
            Some(level) => {
                out.push(if level.map { b'{' } else { b'[' });
                open.push(level);
            }
            None if is_key && out.last() != Some(&b'"') => return None,
            None => {}
        }
        while let Some(level) = open.pop_if(|level| level.left == 0) {
            out.push(if level.map { b'}' } else { b']' });
        }
        if open.is_empty() {
            return if rest.is_empty() { String::from_utf8(out).ok() } else { None };
        }
    }
}

impl Open {
    /// Writes what stands before the next value; true if that is a key.
    fn separate(&mut self, out: &mut Vec<u8>) -> bool {
        let is_key = self.map && self.left.is_multiple_of(2);
        match (self.first, self.map && !is_key) {
            (true, _) => {}
            (false, true) => out.push(b':'),
            (false, false) => out.push(b','),
        }
        self.first = false;
        self.left -= 1;
        is_key
    }
}

/// Writes the next value, or returns the array or map that it opens.
#[allow(clippy::option_option, reason = "the outer one says that there is no such JSON")]
fn value(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<Option<Open>> {
    let array = |left: u64| Some(Some(Open { left, map: false, first: true }));
    let map = |pairs: u64| Some(Some(Open { left: 2 * pairs, map: true, first: true }));
    match Marker::from_u8(*rest.first()?) {
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            let (text, after) = decode::read_str_from_slice(*rest).ok()?;
            *rest = after;
            write(out, text)
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            array(decode::read_array_len(rest).ok()?.into())
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            map(decode::read_map_len(rest).ok()?.into())
        }
        Marker::Null => decode::read_nil(rest).ok().and_then(|()| write(out, ())),
        Marker::True | Marker::False => write(out, decode::read_bool(rest).ok()?),
        Marker::F32 => write(out, decode::read_f32(rest).ok().filter(|n| n.is_finite())?),
        Marker::F64 => write(out, decode::read_f64(rest).ok().filter(|n| n.is_finite())?),
        Marker::U64 => write(out, decode::read_u64(rest).ok()?),
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 | Marker::Reserved => None,
        _ => write(out, decode::read_int::<i64, _>(rest).ok()?), // extensions are none
    }
}

fn write(out: &mut Vec<u8>, value: impl Serialize) -> Option<Option<Open>> {
    serde_json::to_writer(out, &value).ok()?;
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_nothing_converts() {
        for (bytes, json) in [
            (&b"\xc0"[..], "null"),
            (b"\x93\x01\xff\xc3", "[1,-1,true]"),
            (b"\x82\xa1b\x90\xa1a\x81\xa1c\xa0", r#"{"b":[],"a":{"c":""}}"#),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xca\x3f\x8c\xcc\xcd", "1.1"),
            (b"\xd1\x80\x00", "-32768"),
            (b"\xa2\n\"", r#""\n\"""#),
        ] {
            assert_eq!(to_json(bytes).as_deref(), Some(json), "{bytes:x?}");
        }
    }

    #[test]
    fn all_else_does_not() {
        for bytes in [
            &b""[..],
            b"\x01\x01",
            b"\x92\x01",
            b"\xc4\x01a",
            b"\xd4\x01\x00",
            b"\x81\x01\x02",
            b"\x81\x90\x02",
            b"\xa1\xff",
            b"\xca\x7f\xc0\x00\x00",
            b"\xdf\xff\xff\xff\xff",
            b"\xdd\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xffa",
            b"\xc1",
        ] {
            assert_eq!(to_json(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        assert!(to_json(&nested(DEPTH)).is_some());
        assert_eq!(to_json(&nested(DEPTH + 1)), None);
        assert_eq!(to_json(&nested(1 << 20)), None);
    }
}
