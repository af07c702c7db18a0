"""Gossip RPCs, one after the other, to a router that has two neighbours; then a heartbeat."""

from __future__ import annotations

import random
from collections.abc import Mapping

from p2pcompute.errors import DecodeError
from p2pcompute.protocol.gossip import HEARTBEAT, Gossip, codec
from p2pcompute.protocol.gossip.params import GossipParams
from p2pcompute.protocol.machine import Environment, Now, PeerInfo, Ruling
from p2pcompute.transport import noise
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX
from tests.fuzz.target import Reader, Target

TOPIC = "p2pcompute/fuzz"
NOW = Now(1_000, 1_800_000_000_000)
ME, FIRST, SECOND = (noise.signer(bytes([index]) * 32) for index in range(3))
FRAMES_MAX = 4


def _believe(key: bytes, message: bytes, signature: bytes) -> bool:
    """Mutation cannot sign; a signature that ends in an odd byte is false, so that both ways are taken."""
    return not signature[-1] & 1


def _judge(now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
    return (Ruling.ACCEPT, Ruling.IGNORE, Ruling.REJECT)[data[0] % 3 if data else 0]


def feed(data: bytes) -> None:
    """Up to four frames, each behind its length in two bytes. The router never raises, whatever they hold."""
    router = Gossip(Environment(ME[0], ME[1], _believe, random.Random(0), bytes(32)), validate=_judge)
    router.start(NOW)
    router.subscribe(NOW, TOPIC)
    for peer, outbound in ((FIRST[0], True), (SECOND[0], False)):
        router.on_peer(NOW, PeerInfo(peer, True, outbound, "/ip4/203.0.113.7/tcp/1"))
    reader, frames = Reader(data), list[bytes]()
    while reader and len(frames) < FRAMES_MAX:
        frames.append(reader.piece(reader.number() << 8 | reader.number()))
    out_bytes = 0
    for index, frame in enumerate(frames):
        sender = (FIRST, SECOND)[index % 2][0]
        effects = router.on_frame(NOW, sender, frame, router.channels[index % 3])
        out_bytes += sum(len(getattr(effect, "frame", b"")) for effect in effects)
    router.on_timer(Now(NOW.mono_ms + 1_000, NOW.wall_ms + 1_000), HEARTBEAT)
    assert out_bytes <= 2 * len(data) + GOSSIP_RPC_BYTES_MAX, "a few bytes make the router say a lot"
    for frame in frames:  # after the router, which must not raise for what the codec refuses
        codec.decode_rpc(frame)


def pack(*frames: bytes) -> bytes:
    """An input of these frames."""
    return b"".join(len(frame).to_bytes(2, "big") + frame for frame in frames)


def seeds() -> Mapping[str, bytes]:
    """What routers say to each other."""
    hello = codec.encode_subscription(TOPIC, subscribe=True)
    message = codec.encode_message(FIRST[0], TOPIC, b"\0data", 1, FIRST[1])
    large = codec.encode_message(SECOND[0], TOPIC, b"\0" * 600, 2, SECOND[1])
    prune = codec.encode_prune(TOPIC, 60, (codec.Exchanged(SECOND[0], bytes(40)), codec.Exchanged(ME[0])))
    unknown = [codec.message_id(TOPIC, bytes([index])) for index in range(3)]
    return {
        "hello": pack(hello),
        "message": pack(hello, message.part, message.part),
        "large": pack(hello + large.part, large.part),
        "mesh": pack(hello + codec.encode_graft(TOPIC), hello + prune, codec.encode_graft(TOPIC)),
        "gossip": pack(hello + codec.encode_ihave(TOPIC, unknown), message.part, codec.encode_iwant([message.id])),
        "unwanted": pack(hello + codec.encode_idontwant(unknown), message.part),
        "bye": pack(hello, codec.encode_subscription(TOPIC, subscribe=False)),
        "bad_length": pack(b"\x12\xff\xff\xff\xff\x0f"),
        "bad_bytes": pack(b"\xff" * 50),
    }


TARGET = Target(feed, (DecodeError,), seeds, held_bytes_per_byte=512)
assert GossipParams().idontwant_bytes_min <= TARGET.input_bytes_max
