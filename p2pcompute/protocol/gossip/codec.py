"""The pubsub RPC in protobuf, written by hand: a third of the cost of a generated codec, and received messages are
forwarded as the bytes they came in.

Source: libp2p specification `pubsub/README.md` (RPC, Message) and `pubsub/gossipsub` v1.0 to v1.2 (ControlMessage).
Unknown fields are skipped. A singular field of a Message that comes twice is refused, so that all peers read the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.protocol.gossip.params import (
    CONTROLS_PER_RPC_MAX,
    DATA_BYTES_MAX,
    EXCHANGED_PEERS_MAX,
    ID_BYTES_MAX,
    IDS_PER_CONTROL_MAX,
    MESSAGES_PER_RPC_MAX,
    RECORD_BYTES_MAX,
    TOPIC_BYTES_MAX,
)
from p2pcompute.wire.protobuf import read_fields, varint, write_field

_LENGTHS: Final = [bytes((length,)) for length in range(ID_BYTES_MAX + 1)]
SIGN_PREFIX: Final = b"libp2p-pubsub:"
ID_BYTES: Final = 20
_ID_HEAD: Final = bytes((0x12, ID_BYTES))
"""Before each of our ids in an IHAVE: field 2, its length."""
_SEQNO_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
_FIELDS_MAX: Final = 8_192
_MESSAGE_FIELDS: Final = 6
_MESSAGE_TAG: Final = 0x12
"""Of a message in an RPC: field 2, length-delimited."""


def message_id(topic: str, data: bytes) -> bytes:
    """sha256(topic, a zero byte, data)[:20]: a message is what it says, whoever published it and however often.

    js-libp2p and go-libp2p take the same function as `msgIdFn` and `WithMessageIdFn`; both have sha256 built in.
    """
    return _id_of(topic.encode(), data)


def _id_of(topic: bytes, data: bytes) -> bytes:
    return hashlib.sha256(b"%b\0%b" % (topic, data)).digest()[:ID_BYTES]


class Message(msgspec.Struct, frozen=True, gc=False):
    """A published message. `part` is its whole field in an RPC; `part[signed_at:signed_end]` is signed."""

    source: bytes
    """32-byte ed25519 public key of the publisher."""
    topic: str
    data: bytes
    signature: bytes
    part: bytes
    id: bytes
    signed_at: int
    signed_end: int

    @property
    def signed(self) -> bytes:
        """What the signature covers; put together when asked for, since the message is kept for longer."""
        return SIGN_PREFIX + self.part[self.signed_at : self.signed_end]


class Exchanged(NamedTuple):
    """A peer that another one recommends, with its signed record where that is known."""

    peer: bytes
    """Its 32-byte ed25519 public key."""
    record: bytes = b""


class Prune(NamedTuple):
    topic: str
    backoff_s: int | None = None
    peers: tuple[Exchanged, ...] = ()


@dataclasses.dataclass(slots=True)
class Rpc:
    """What one frame holds. `bad_messages` counts messages that are not well formed; the rest of the frame stands."""

    subscriptions: list[tuple[bool, str]] = dataclasses.field(default_factory=list)
    messages: list[Message] = dataclasses.field(default_factory=list)
    ihave: list[tuple[str, list[bytes]]] = dataclasses.field(default_factory=list)
    iwant: list[list[bytes]] = dataclasses.field(default_factory=list)
    graft: list[str] = dataclasses.field(default_factory=list)
    prune: list[Prune] = dataclasses.field(default_factory=list)
    idontwant: list[list[bytes]] = dataclasses.field(default_factory=list)
    bad_messages: int = 0


# Encoding ---------------------------------------------------------------------------------------------------------


def encode_subscription(topic: str, *, subscribe: bool) -> bytes:
    return write_field(1, bytes((0x08, subscribe)) + write_field(2, topic.encode()))


def encode_graft(topic: str) -> bytes:
    return write_field(3, write_field(3, write_field(1, topic.encode())))


def encode_prune(topic: str, backoff_s: int, peers: Sequence[Exchanged] = ()) -> bytes:
    named = b"".join(write_field(2, _exchanged_peer(one)) for one in peers)
    return write_field(3, write_field(4, write_field(1, topic.encode()) + named + b"\x18" + varint(backoff_s)))


def _exchanged_peer(one: Exchanged) -> bytes:
    return write_field(1, PEER_ID_PREFIX + one.peer) + (write_field(2, one.record) if one.record else b"")


def encode_ihave(topic: str, ids: Sequence[bytes]) -> bytes:
    return write_field(3, write_field(1, write_field(1, topic.encode()) + _write_ids(2, ids)))


def encode_iwant(ids: Sequence[bytes]) -> bytes:
    return write_field(3, write_field(2, _write_ids(1, ids)))


def encode_idontwant(ids: Sequence[bytes]) -> bytes:
    return write_field(3, write_field(5, _write_ids(1, ids)))


def _write_ids(number: int, ids: Sequence[bytes]) -> bytes:
    """A repeated field of ids, which have at most ID_BYTES_MAX bytes."""
    tag = bytes((number << 3 | 2,))
    return b"".join([tag + _LENGTHS[len(one)] + one for one in ids])


def encode_message(source: bytes, topic: str, data: bytes, sequence: int, sign: Callable[[bytes], bytes]) -> Message:
    """A message of our own, signed by `source` (StrictSign)."""
    body = b"".join(
        (
            write_field(1, PEER_ID_PREFIX + source),
            write_field(2, data),
            write_field(3, sequence.to_bytes(_SEQNO_BYTES, "big")),
            write_field(4, topic.encode()),
        )
    )
    signature = sign(SIGN_PREFIX + body)
    signature_field = write_field(5, signature)
    part = write_field(2, body + signature_field)
    signed_end = len(part) - len(signature_field)
    return Message(source, topic, data, signature, part, message_id(topic, data), signed_end - len(body), signed_end)


# Decoding ---------------------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    if len(data) > TOPIC_BYTES_MAX:
        raise DecodeError("A topic is too long.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DecodeError("A topic is not text.") from None


def decode_message(frame: bytes, at: int = 0, stop: int | None = None) -> Message:
    """The message in `frame[at:stop]`, its signature unchecked. Raises DecodeError when it breaks StrictSign."""
    stop = len(frame) if stop is None else stop
    source = data = sequence = signature = key = b""
    topic: bytes | None = None
    last = signed_end = 0
    for number, start, end in read_fields(frame, at, stop, _MESSAGE_FIELDS):
        if end < 0 or not last < number <= _MESSAGE_FIELDS:
            raise DecodeError("A message holds a field twice, out of order, or one we do not know.")
        last = number
        value = frame[start:end]
        if number == 1:
            source, signed_end = value, end
        elif number == 2:
            data, signed_end = value, end
        elif number == 3:
            sequence, signed_end = value, end
        elif number == 4:
            topic, signed_end = value, end
        elif number == 5:
            signature = value
        else:
            key = value
    if source[:6] != PEER_ID_PREFIX or len(source) != len(PEER_ID_PREFIX) + 32:
        raise DecodeError("A message's publisher is not an ed25519 peer id.")
    if len(sequence) != _SEQNO_BYTES or len(signature) != _SIGNATURE_BYTES:
        raise DecodeError("A message has no sequence number or no signature.")
    if topic is None or len(data) > DATA_BYTES_MAX or (key and key != source[2:]):
        raise DecodeError("A message has no topic, is too long, or names another key than its publisher's.")
    name = _text(topic)
    part = _part(frame, at, stop)
    moved = len(part) - stop  # where its last byte stands now
    return Message(source[6:], name, data, signature, part, _id_of(topic, data), at + moved, signed_end + moved)


def _part(frame: bytes, at: int, stop: int) -> bytes:
    """A message's bytes as a field of an RPC: the frame itself, uncopied, where it holds nothing else."""
    if at and stop == len(frame) and at == _prefix_bytes(stop - at) and frame[0] == _MESSAGE_TAG:
        return frame
    return write_field(2, frame[at:stop])


def sole_message(frame: bytes) -> Message | None:
    """The message of a frame that holds it and nothing else, as most do; None for all others, malformed ones too."""
    if not frame or frame[0] != _MESSAGE_TAG:
        return None
    try:
        fields = read_fields(frame, 0, len(frame), 1)
        return decode_message(frame, *fields[0][1:]) if fields[0][2] == len(frame) else None
    except DecodeError:
        return None


def decode_rpc(frame: bytes, recent: Mapping[bytes, Message] | None = None) -> Rpc:
    """Raises DecodeError when the frame as a whole cannot be read.

    `recent` holds messages by their `part`: most of what comes in are further copies of them, byte for byte.
    """
    rpc = Rpc()
    for number, start, end in read_fields(frame, 0, len(frame), _FIELDS_MAX):
        if end < 0:
            continue
        if number == 2:
            if len(rpc.messages) + rpc.bad_messages >= MESSAGES_PER_RPC_MAX:
                raise DecodeError("A gossip frame holds too many messages.")
            copied = recent.get(frame[start - _prefix_bytes(end - start) : end]) if recent else None
            try:
                rpc.messages.append(copied or decode_message(frame, start, end))
            except DecodeError:
                rpc.bad_messages += 1
        elif number == 1:
            _subscription(rpc, frame, start, end)
        elif number == 3:
            _control(rpc, frame, start, end)
    return rpc


def _prefix_bytes(size: int) -> int:
    """Bytes of a field's tag and length before `size` bytes of content."""
    return 2 if size < 1 << 7 else 3 if size < 1 << 14 else 4 if size < 1 << 21 else 5


def _subscription(rpc: Rpc, frame: bytes, at: int, stop: int) -> None:
    subscribe, topic = False, None
    for number, start, end in read_fields(frame, at, stop, 8):
        if number == 1 and end < 0:
            subscribe = bool(start)
        elif number == 2 and end >= 0:
            topic = _text(frame[start:end])
    if topic is not None:
        rpc.subscriptions.append((subscribe, topic))


def _control(rpc: Rpc, frame: bytes, at: int, stop: int) -> None:
    for number, start, end in read_fields(frame, at, stop, CONTROLS_PER_RPC_MAX):
        if end < 0 or not 1 <= number <= 5:
            continue
        if number == 1 and (offered := _plain_ihave(frame, start, end)) is not None:
            rpc.ihave.append(offered)
            continue
        fields = read_fields(frame, start, end, IDS_PER_CONTROL_MAX + 1)
        if number in (2, 5):
            (rpc.iwant if number == 2 else rpc.idontwant).append(_ids(frame, fields, 1))
            continue
        topic = next((_text(frame[begin:close]) for kind, begin, close in fields if kind == 1 and close >= 0), None)
        if topic is None:
            continue
        if number == 1:
            rpc.ihave.append((topic, _ids(frame, fields, 2)))
        elif number == 3:
            rpc.graft.append(topic)
        else:
            backoff = next((value for kind, value, close in fields if kind == 3 and close < 0), None)
            rpc.prune.append(Prune(topic, backoff, _exchanged(frame, fields)))


def _plain_ihave(frame: bytes, at: int, stop: int) -> tuple[str, list[bytes]] | None:
    """An IHAVE as nearly all are: its topic, then ids as long as ours, and nothing else. It is read in steps of one id,
    and says the same as if it were read field by field; None for any other."""
    if stop - at < 2 or frame[at] != 0x0A or frame[at + 1] > 127:
        return None
    first = at + 2 + frame[at + 1]
    count, rest = divmod(stop - first, len(_ID_HEAD) + ID_BYTES)
    if rest or not 0 < count <= IDS_PER_CONTROL_MAX:
        return None
    step = len(_ID_HEAD) + ID_BYTES
    if any(frame[first + i : stop : step] != _ID_HEAD[i : i + 1] * count for i in range(len(_ID_HEAD))):
        return None
    ids = [frame[i : i + ID_BYTES] for i in range(first + len(_ID_HEAD), stop, step)]
    return _text(frame[at + 2 : first]), ids


def _exchanged(frame: bytes, fields: list[tuple[int, int, int]]) -> tuple[Exchanged, ...]:
    """The first peers that a PRUNE names; those that are no ed25519 peers are left out."""
    named = [(start, end) for number, start, end in fields if number == 2 and end >= 0][:EXCHANGED_PEERS_MAX]
    found = []
    for at, stop in named:
        peer = record = b""
        for number, start, end in read_fields(frame, at, stop, 8):
            if number == 1 and end >= 0:
                peer = frame[start:end]
            elif number == 2 and end >= 0:
                record = frame[start:end]
        if peer[:6] == PEER_ID_PREFIX and len(peer) == len(PEER_ID_PREFIX) + 32 and len(record) <= RECORD_BYTES_MAX:
            found.append(Exchanged(peer[6:], record))
    return tuple(found)


def _ids(frame: bytes, fields: list[tuple[int, int, int]], wanted: int) -> list[bytes]:
    """Message ids; those longer than any sensible id are left out."""
    return [
        frame[start:end]
        for number, start, end in fields
        if number == wanted and end >= 0 and end - start <= ID_BYTES_MAX
    ]
