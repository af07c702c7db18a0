"""Anti-entropy: requests to a peer with a book, and answers to the three that it asks itself."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol import sync
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import Budget
from p2pcompute.protocol.machine import Environment, Now, Ok, Request
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.ranges import RangeIndex
from p2pcompute.wire import documents as d
from tests.fuzz.document import NETWORK, WALL_MS
from tests.fuzz.target import Reader, Target

NOW = Now(1_000, WALL_MS)
PEER = bytes(range(32))
BOOK = 20


@functools.cache
def _offer(index: int) -> bytes:
    key = KeyPair(index.to_bytes(32, "big"))
    author = d.Author(NETWORK, key.public, bytes(8), key.sign)
    body = d.Offer(b"", (), "cpu", "m", "c", "jail", "r", 2**30, 1000, 1, 1, 1, 1, 1)
    return author.write(WALL_MS, body, lifetime_ms=600_000).raw


def _machine() -> sync.Sync:
    key = KeyPair(bytes(32))
    post = Post(Environment(key.public, key.sign, _verified, random.Random(0), bytes(32)), NETWORK, bytes(8), b"")
    book = Book(post)
    for index in range(1, BOOK + 1):
        book.judge(NOW, _offer(index))
    assert len(book) == BOOK
    return sync.Sync(post, book, Budget())


@functools.lru_cache(maxsize=4_096)
def _verified(key: bytes, message: bytes, signature: bytes) -> bool:
    return verify(key, message, signature)


def feed(data: bytes) -> None:
    """The first byte: a request, or an answer to a comparison, to a get, to a push."""
    reader, machine = Reader(data), _machine()
    machine.on_peer(NOW, PEER, up=True, outbound=False)
    kind, frame = reader.number() % 4, reader.rest()
    if kind == 0:
        if not sync.is_sync(frame):
            raise DecodeError("not for this machine")
        answer, _ = machine.answer(NOW, PEER, frame)
        if answer is None:
            raise DecodeError("refused")
        assert len(answer) <= sync.FRAME_BYTES_MAX
        return
    tag = Tag("core", ("compare", "get", "push")[kind - 1], (b"\2\0\0\0\0\0\1", b"\0\0\0\5", b"")[kind - 1], PEER)
    effects = machine.on_response(NOW, tag, Ok(frame))
    asked = [effect for effect in effects if isinstance(effect, Request)]
    assert len(asked) <= 2
    assert all(len(effect.frame) <= sync.FRAME_BYTES_MAX for effect in asked)


def seeds() -> Mapping[str, bytes]:
    """A whole conversation."""
    encode = msgspec.msgpack.encode
    index = RangeIndex()
    for one in range(5, 25):
        index.add(d.codec.document_id(_offer(one)))
    ids = [b"".join(index.short_ids(1, number)) for number in range(2)]
    return {
        "compare": b"\0\x02\0\0\0\0\0\x01" + index.fingerprints(1),
        "compare_fine": b"\0\x02\0\0\0\0\0\x05" + index.fingerprints(5),
        "get": b"\0\x03" + ids[0],
        "push": b"\0\x04" + encode([_offer(30), _offer(31)]),
        "differences": b"\1" + encode([(0, ids[0]), (1, ids[1])]),
        "documents": b"\2" + encode([_offer(40)]),
        "pushed": b"\3",
        "bad_bits": b"\0\x02\xff" + bytes(8),
        "bad_ids": b"\0\x03" + bytes(7),
        "bad_push": b"\0\x04\xdd\xff\xff\xff\xff",
    }


TARGET = Target(feed, (DecodeError,), seeds, held_bytes_per_byte=512)
