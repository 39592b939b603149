#!/usr/bin/env python3
"""Reads a Selvedge publisher or relay and believes nobody but the signer.

    reader.py ENDPOINTS_TOML NAME [PREFIX…]      prints what services say: id, topic, body
    reader.py --vectors SEAL_JSON                checks the golden packets

Written from docs/PROTOCOL.md alone, as an example of another client. It verifies every packet; it
keeps no positions (sections 8 to 10), so it tells neither losses nor duplicates, and reads the main
file of the directory only. Needs Python 3.11 and `cryptography`, which checks signatures a little
less strictly than section 4 asks for.
"""
import base64
import hashlib
import json
import re
import socket
import struct
import sys
import tomllib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BODY = 1 << 20  # largest body
TOPIC = re.compile(rb"\$?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class Refused(Exception):
    """A packet that is not believed, and why."""


def need(holds, why):
    if not holds:
        raise Refused(why)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# ---- the directory: who may say what (section 7) -----------------------------------------------


class Directory:
    def __init__(self, text):
        self.table = tomllib.loads(text)
        self.fabric = self.table["fabric"]
        self.speakers = {}
        for kind in ("services", "relays"):
            for name, entry in self.table.get(kind, {}).items():
                for key in as_list(entry["key"]):
                    public = base64.b64decode(key.removeprefix("ed25519:"), validate=True)
                    topics = as_list(entry.get("topics", []))
                    self.speakers[key_id(public)] = (name, public, topics)
        for key in self.table.get("revoked", {}).get("keys", []):
            raw = key.removeprefix("ed25519:")
            revoked = bytes.fromhex(key) if raw == key else key_id(base64.b64decode(raw))
            self.speakers.pop(revoked, None)

    def endpoint(self, name):
        entry = self.table.get("services", {}).get(name) or self.table["relays"][name]
        return as_list(entry["endpoint"])[0]


def as_list(value):
    return value if isinstance(value, list) else [value]


def key_id(public):
    return sha(b"selvedge/v1/key-id\0", public)[:8]


def may_say(name, topics, topic):
    if topic.startswith("$"):
        return topic in (f"$tip.{name}", f"$state.{name}")
    return any(matches(pattern.split("."), topic.split(".")) for pattern in topics)


def matches(pattern, topic):
    for at, segment in enumerate(pattern):
        if segment == "#":
            return True
        if at >= len(topic) or segment not in ("*", topic[at]):
            return False
    return len(pattern) == len(topic)


# ---- packets (sections 3, 4 and 6) -------------------------------------------------------------


def open_packet(frames, directory):
    """The messages of a packet that passes the door, as dicts."""
    need(3 <= len(frames) <= 1026, "malformed: frames")
    topic, seal, *bodies = frames
    need(len(topic) <= 255 and TOPIC.fullmatch(topic), "malformed: topic")
    need(126 <= len(seal) <= 65536, "malformed: seal length")
    magic, version, suite, key, epoch, commit, first, _, n, m = struct.unpack_from(
        "<2sBB8sQQQQHH", seal
    )
    need((magic, version, suite) == (b"SV", 1, 1), "malformed: format")
    need(n <= 4096 and 1 <= m <= n + 1, "malformed: counts")
    need(first + n < 1 << 64 and commit + 1 < 1 << 64, "malformed: overflow")
    index, k, flags = struct.unpack_from("<HBB", seal, 112)
    need(flags == 0, "malformed: flags")
    need(len(seal) >= 126 + 32 * k, "malformed: seal length")
    proof = [seal[116 + 32 * i : 148 + 32 * i] for i in range(k)]
    head = seal[116 + 32 * k :]
    count, tseq = struct.unpack_from("<HQ", head)
    need(count == len(bodies), "malformed: count")
    need(tseq + count < 1 << 64, "malformed: overflow")
    tip = topic.startswith(b"$tip.")
    need(not tip or (count, tseq) == (1, 0), "malformed: tip")
    messages, at, above = [], 10, -1
    for j, body in enumerate(bodies):
        need(len(head) >= at + 18, "malformed: head length")
        off, ctype, ext_len, length, ts_us = struct.unpack_from("<HHHIQ", head, at)
        extension = head[at + 18 : at + 18 + ext_len]
        need(len(extension) == ext_len, "malformed: head length")
        need((ctype == 6) == (off == 0xFFFF) == tip, "malformed: tip")
        need(tip or above < off < n, "malformed: offset")
        need(ext_len <= 1024, "malformed: extension")
        need(length == len(body), "malformed: body length")
        at, above = at + 18 + ext_len, off
        messages.append(
            {"topic": topic.decode(), "epoch": epoch, "seq": first + off, "tseq": tseq + j}
            | {"ctype": ctype, "time_us": ts_us, "extension": extension, "body": body}
        )
    need(at == len(head), "malformed: head length")
    root = root_of(sha(b"\0", bytes([len(topic)]), topic, head, *bodies), index, m, proof)
    need(key in directory.speakers, "unknown_key or revoked")
    name, public, topics = directory.speakers[key]
    need(may_say(name, topics, topic.decode()), "topic_denied")
    signed = b"selvedge/v1/commit\0" + b"".join(
        bytes([len(text)]) + text.encode() for text in (directory.fabric, name)
    )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(seal[48:112], signed + seal[:48] + root)
    except InvalidSignature:
        raise Refused("bad_signature") from None
    for message in messages:
        message["publisher"], message["tip"] = name, tip
    return messages


def root_of(leaf, index, m, proof):
    need(index < m, "malformed: proof")
    root, at, last = leaf, index, m - 1
    for sibling in proof:
        need(last > 0, "malformed: proof")
        if at & 1 or at == last:
            root = sha(b"\1", sibling, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = sha(b"\1", root, sibling)
        at, last = at >> 1, last >> 1
    need(last == 0, "malformed: proof")
    return root


# ---- ZMTP (section 2) --------------------------------------------------------------------------


def frame(flags, body):
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def command(name, data):
    return frame(4, bytes([len(name)]) + name + data)


def read_frame(stream):
    flags = exactly(stream, 1)[0]
    need(flags & ~7 == 0 and flags & 5 != 5, "fault: flags")
    length = int.from_bytes(exactly(stream, 8 if flags & 2 else 1), "big")
    need(length <= (4096 if flags & 4 else BODY), "fault: frame too large")
    return flags, exactly(stream, length)


def exactly(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("the peer closed the connection")
    return data


def connect(endpoint, prefixes):
    kind, _, address = endpoint.partition("://")
    if kind == "tcp":
        host, _, port = address.rpartition(":")
        peer = socket.create_connection((host.strip("[]"), int(port)))
    else:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect("\0" + address[1:] if address.startswith("@") else address)
    stream = peer.makefile("rwb", buffering=65536)
    stream.write(b"\xff" + bytes(8) + b"\x7f\3\1" + b"NULL".ljust(52, b"\0"))
    stream.flush()
    greeting = exactly(stream, 64)
    need(greeting[0] == 0xFF and greeting[9] == 0x7F and greeting[10] >= 3, "fault: not ZMTP 3")
    need(greeting[12:32] == b"NULL".ljust(20, b"\0"), "fault: mechanism")
    # Without X-Selvedge: this reader would not understand MARK.
    stream.write(command(b"READY", b"\x0bSocket-Type\0\0\0\3SUB"))
    stream.flush()
    need(read_frame(stream)[1].startswith(b"\5READY"), "fault: no READY")
    old = greeting[10] == 3 and greeting[11] == 0
    for prefix in prefixes:
        stream.write(frame(0, b"\1" + prefix) if old else command(b"SUBSCRIBE", prefix))
    stream.flush()
    return stream


def messages(stream):
    """Every message as its frames, until the peer closes; answers pings."""
    frames = []
    while stream.peek(1):
        flags, body = read_frame(stream)
        if flags & 4:
            if body.startswith(b"\4PING"):
                stream.write(command(b"PONG", body[7:]))
                stream.flush()
            continue
        frames.append(body)
        need(len(frames) <= 1026, "fault: too many frames")
        if not flags & 1:
            yield frames
            frames = []


# ---- commands ----------------------------------------------------------------------------------


def read(path, name, *prefixes):
    with open(path, encoding="utf-8") as file:
        directory = Directory(file.read())
    prefixes = [prefix.encode() for prefix in prefixes] or [b""]
    for frames in messages(connect(directory.endpoint(name), prefixes)):
        try:
            for said in open_packet(frames, directory):
                if said["tip"]:
                    continue
                place = "{publisher}/{epoch}/{seq}".format(**said)
                text = said["body"].decode("utf-8", "backslashreplace")
                print(place, said["topic"], text, flush=True)
        except Refused as why:
            print(f"refused: {why}", file=sys.stderr)


def check_vectors(path):
    """Every golden packet passes; with any one bit flipped it does not."""
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    written = {key["seed"]: key["written"] for key in vectors["keys"]}
    packets = flips = 0
    for commit in vectors["commits"]:
        directory = Directory(
            f'fabric = "{commit["fabric"]}"\n[services.{commit["publisher"]}]\n'
            f'key = "{written[commit["seed"]]}"\ntopics = ["#"]\n'
        )
        for listed in commit["packets"]:
            if "wire" not in listed:
                continue
            wire = b"".join(bytes.fromhex(w[0]) * (w[2] if w[2:] else 1) for w in listed["wire"])
            frames = split(wire)
            said = open_packet(frames, directory)
            packets += 1
            for message, wanted in zip(said, listed["messages"], strict=True):
                assert message["seq"] == commit["first"] + wanted["off"]
                assert message["body"] == bytes.fromhex(wanted["body"][0]) * wanted["body"][1]
                assert message["extension"].hex() == wanted["extension"]
            for i, part in enumerate(frames):
                for at in range(0, len(part), max(1, len(part) // 200)):
                    bad = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
                    try:
                        open_packet([*frames[:i], bad, *frames[i + 1 :]], directory)
                    except Refused:
                        flips += 1
                        continue
                    sys.exit(f"{commit['name']}: byte {at} of frame {i} may be changed unseen")
    print(f"{packets} packets pass, {flips} changed ones are refused")


def split(wire):
    frames = []
    while wire:
        size = 9 if wire[0] & 2 else 2
        length = int.from_bytes(wire[1:size], "big")
        frames.append(wire[size : size + length])
        wire = wire[size + length :]
    return frames


if __name__ == "__main__":
    if sys.argv[1:2] == ["--vectors"] and len(sys.argv) == 3:
        check_vectors(sys.argv[2])
    elif len(sys.argv) > 2:
        read(*sys.argv[1:])
    else:
        sys.exit(__doc__)
