"""Anti-entropy: two peers make their books equal, at a cost that follows from the difference, not from the size.

Range-based set reconciliation (Meyer, 2022) in two steps. The space of document ids is cut into 2**bits equal ranges;
the peer that asks sends one fingerprint for each, the other answers with the short ids it holds in the ranges that
differ. Then the first one fetches what it lacks and pushes what the other lacks.

    compare   0x02 || depth || bucket, 4 bytes || bits || 2**bits fingerprints, 8 bytes each
                                                       ->  [[range, short ids], ...]
    get       0x03 || short ids, 8 bytes each          ->  [document, ...]
    push      0x04 || [document, ...]                  ->  empty

A fingerprint is a sum over the ids: whoever forges documents with a given sum hides nothing but those very documents.
What a peer learns this way it passes on by comparing with others soon after, so a healed partition levels out in a few
round trips. Only the shard is compared that both are in. Rules S1 to S10 of docs/spec/sync.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import Budget
from p2pcompute.protocol.machine import Effect, Now, Ok, Outcome, Request, Ruling, SetTimer
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.ranges import BITS_MAX, SHORT_ID_BYTES
from p2pcompute.protocol.shards import WHOLE, Shard
from p2pcompute.wire import limits

COMPARE: Final = 0x02
GET: Final = 0x03
PUSH: Final = 0x04
TIMER: Final = "core.sync"
PERIOD_MS: Final = 10_000
"""Between two comparisons with a random neighbour when nothing is new."""
SPREAD_MS: Final = 100
"""From learning or telling much to the next round; doubled while it is little, up to PERIOD_MS, and halved by every
comparison that finds nothing."""
MUCH: Final = 32
"""One part in so many of the book is much. Documents that gossip has under way are a thousandth."""
SPREAD_PEERS: Final = 4
UNSURE_PEERS_MAX: Final = 12
"""Neighbours to be asked, by chance, after something new: all that a mesh has, and few of a crowd."""
SILENT_PEERS: Final = 1
"""Neighbours that gave no answer last time are asked too, but take no place from others."""
AGAIN_MS: Final = 200
"""From a missing answer to the next round; doubled with every further one in a row of that peer, up to PERIOD_MS."""
PER_RANGE: Final = 16
"""Documents per range the asker aims at: a range's ids then fit half a packet."""
COMPARE_MS: Final = 1_500
"""For the answer to a comparison, 33 KiB at most; who is slower than that is no good to level with now."""
REQUEST_MS: Final = 5_000
IDS_BYTES_MAX: Final = 32 * limits.KIB
DOCUMENTS_BYTES_MAX: Final = 128 * limits.KIB
FRAME_BYTES_MAX: Final = DOCUMENTS_BYTES_MAX + 4 * limits.KIB

_HEAD: Final = struct.Struct(">BBIB")
"""COMPARE, depth and bucket of the shard, bits."""
_encode = msgspec.msgpack.Encoder().encode
_documents = msgspec.msgpack.Decoder(list[bytes])
_differences = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


class Sync:
    """Levels the book with connected peers. Keeps nothing but a timer and what is under way."""

    def __init__(
        self,
        post: Post,
        book: Book,
        budget: Budget,
        shared: Callable[[bytes], Shard | None] = lambda peer: WHOLE,
        home: Callable[[], Shard | None] = lambda: WHOLE,
    ) -> None:
        """`shared`: the shard that we and a neighbour are in; `home`: ours."""
        self._post, self._book, self._budget = post, book, budget
        self._shared, self._home = shared, home
        self._peers: dict[bytes, None] = {}
        self._busy: dict[bytes, None] = {}
        self._silent: dict[bytes, int] = {}
        """Neighbours that owe an answer, with how many in a row; a word from them clears it."""
        self._unsure: dict[bytes, None] = {}
        """Neighbours that may not know what we learned last."""
        self._due_ms = 0
        self._pause_ms = SPREAD_MS

    # -- when ----------------------------------------------------------------------------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """Compare with somebody now and then."""
        self._due_ms = now.mono_ms + PERIOD_MS
        return [SetTimer(TIMER, self._due_ms)]

    def _within(self, now: Now, delay_ms: int) -> list[Effect]:
        """Compare again after this time at the latest."""
        if now.mono_ms + delay_ms >= self._due_ms:
            return []
        self._due_ms = now.mono_ms + delay_ms
        return [SetTimer(TIMER, self._due_ms)]

    def _spread(self, now: Now, count: int) -> list[Effect]:
        """So many documents were not known everywhere: rounds until all neighbours were asked, or as many as count.
        Where there is always news, the rounds become rare."""
        much = MUCH * count >= len(self._book)
        self._pause_ms = SPREAD_MS if much else min(PERIOD_MS, 2 * self._pause_ms)
        talking = [peer for peer in self._sharing() if peer not in self._silent]
        self._post.env.rng.shuffle(talking)
        self._unsure = dict.fromkeys(talking[:UNSURE_PEERS_MAX])
        return self._within(now, self._pause_ms)

    def on_peer(self, now: Now, peer: bytes, *, up: bool, outbound: bool) -> list[Effect]:
        """Whoever dialled compares at once: a newcomer has a book after two round trips."""
        if not up:
            self._peers.pop(peer, None)
            self._busy.pop(peer, None)
            self._silent.pop(peer, None)
            self._unsure.pop(peer, None)
            return []
        self._peers[peer] = None
        return self._compare(peer) if outbound else []

    def _sharing(self) -> list[bytes]:
        """Neighbours that are where we are."""
        return [peer for peer in self._peers if self._shared(peer) is not None]

    def on_shared(self, peer: bytes) -> list[Effect]:
        """A neighbour came into our shard, or we into its."""
        return self._compare(peer) if peer in self._peers else []

    def on_timer(self, now: Now) -> list[Effect]:
        """Compare with randomly chosen neighbours: those first that may lack something, silent ones last."""
        idle = [peer for peer in self._sharing() if peer not in self._busy]
        self._unsure = {peer: None for peer in self._sharing() if peer in self._unsure}
        self._post.env.rng.shuffle(idle)
        self._due_ms = now.mono_ms + PERIOD_MS
        out: list[Effect] = [SetTimer(TIMER, self._due_ms)]
        talking = sorted((peer for peer in idle if peer not in self._silent), key=lambda peer: peer not in self._unsure)
        for peer in (*talking[:SPREAD_PEERS], *[peer for peer in idle if peer in self._silent][:SILENT_PEERS]):
            self._unsure.pop(peer, None)
            out += self._compare(peer)
        return out + (self._within(now, self._pause_ms) if self._unsure else [])

    # -- asking --------------------------------------------------------------------------------------------------------

    def _compare(self, peer: bytes) -> list[Effect]:
        shard = self._shared(peer)
        if peer in self._busy or shard is None:
            return []
        self._busy[peer] = None
        index = self._book.index(shard)
        bits = min(BITS_MAX, max(0, (len(index) // PER_RANGE).bit_length()))
        head = _HEAD.pack(COMPARE, *shard, bits)
        return [self._ask(peer, "compare", head, head + index.fingerprints(bits), COMPARE_MS)]

    def _ask(self, peer: bytes, step: str, subject: bytes, frame: bytes, timeout_ms: int = REQUEST_MS) -> Request:
        return self._post.ask(peer, frame, Tag("core", step, subject, peer), timeout_ms=timeout_ms)

    def on_response(self, now: Now, tag: Tag, outcome: Outcome) -> list[Effect]:
        """The answer to a comparison, a get or a push. What is malformed counts as no answer."""
        if tag.step != "push":
            self._busy.pop(tag.peer, None)
        if not isinstance(outcome, Ok) or len(outcome.frame) > FRAME_BYTES_MAX:
            return self._missed(now, tag.peer)
        try:
            if tag.step == "compare":
                out = self._on_differences(now, tag, _differences.decode(outcome.frame))
            elif tag.step == "get":
                out = self._on_documents(now, tag, _documents.decode(outcome.frame))
            else:
                out = []
        except (msgspec.MsgspecError, DecodeError):
            return self._missed(now, tag.peer)
        self._silent.pop(tag.peer, None)
        return out

    def _missed(self, now: Now, peer: bytes) -> list[Effect]:
        """No answer: soon ask somebody else, and this peer again."""
        if peer not in self._peers:
            return []
        self._unsure.pop(peer, None)
        times = self._silent[peer] = self._silent.get(peer, 0) + 1
        return self._within(now, min(PERIOD_MS, AGAIN_MS << min(times - 1, 16)))

    def _on_differences(self, now: Now, tag: Tag, differences: list[tuple[int, bytes]]) -> list[Effect]:
        if not differences:
            self._pause_ms = max(SPREAD_MS, self._pause_ms // 2)
        _, depth, bucket, bits = _HEAD.unpack(tag.subject)
        if Shard(depth, bucket) != self._home():  # we went elsewhere meanwhile
            return []
        index = self._book.index(Shard(depth, bucket))
        wanted: list[bytes] = []
        given: list[bytes] = []
        told: set[int] = set()
        for number, ids in differences:
            if not 0 <= number < 1 << bits or number in told or len(ids) % SHORT_ID_BYTES:
                raise DecodeError("a difference that cannot be")
            told.add(number)  # each costs a look through its range, and there is room for 40,000 of them
            theirs = dict.fromkeys(split_ids(ids))
            mine = index.short_ids(bits, number)
            wanted += [i for i in theirs if i not in mine]
            given += [i for i in mine if i not in theirs]
        out: list[Effect] = []
        if given:
            frame = bytes((PUSH,)) + _encode(self._book.documents(given, DOCUMENTS_BYTES_MAX))
            out += [self._ask(tag.peer, "push", b"", frame), *self._spread(now, len(given))]
        if wanted:
            self._busy[tag.peer] = None
            wanted = wanted[: IDS_BYTES_MAX // SHORT_ID_BYTES]
            out.append(self._ask(tag.peer, "get", len(wanted).to_bytes(4, "big"), bytes((GET,)) + b"".join(wanted)))
        return out

    def _on_documents(self, now: Now, tag: Tag, documents: list[bytes]) -> list[Effect]:
        out, news = self._take(now, documents)
        if news and len(documents) < int.from_bytes(tag.subject, "big"):
            out += self._compare(tag.peer)  # a page was full: go on where it ended
        return out

    def _take(self, now: Now, documents: list[bytes]) -> tuple[list[Effect], int]:
        """Judge documents as if gossiped; the events, and how many were news."""
        out: list[Effect] = []
        news = 0
        for raw in documents:
            ruling, _, events = self._book.judge(now, raw)
            out += events
            news += ruling is Ruling.ACCEPT
        if news:
            out += self._spread(now, news)
        return out, news

    # -- answering -----------------------------------------------------------------------------------------------------

    def answer(self, now: Now, peer: bytes, frame: bytes) -> tuple[bytes | None, list[Effect]]:
        """The answer to a frame of this protocol, and what follows; None refuses a malformed one."""
        if len(frame) > FRAME_BYTES_MAX or not self._budget.spend(now, peer):
            return None, []
        self._silent.pop(peer, None)
        try:
            if frame[0] == COMPARE:
                return self._answer_compare(frame), []
            if frame[0] == GET:
                return _encode(self._book.documents(split_ids(frame[1:]), DOCUMENTS_BYTES_MAX)), []
            pushed = [raw for raw in _documents.decode(frame[1:]) if self._budget.spend(now, peer)]
            return b"", self._take(now, pushed)[0]
        except (msgspec.MsgspecError, DecodeError):
            return None, []

    def _answer_compare(self, frame: bytes) -> bytes | None:
        """None for a shard that we are not in."""
        if len(frame) < _HEAD.size:
            raise DecodeError("a comparison without a head")
        _, depth, bucket, bits = _HEAD.unpack_from(frame)
        if bits > BITS_MAX or len(frame) != _HEAD.size + 8 * (1 << bits):
            raise DecodeError("a comparison of the wrong length")
        if Shard(depth, bucket) != self._home():
            return None
        index, theirs = self._book.index(Shard(depth, bucket)), frame[_HEAD.size :]
        mine = index.fingerprints(bits)
        differing = [i for i in range(1 << bits) if mine[8 * i : 8 * i + 8] != theirs[8 * i : 8 * i + 8]]
        start = self._post.env.rng.randrange(len(differing)) if differing else 0
        out: list[tuple[int, bytes]] = []
        size = 0
        for number in differing[start:] + differing[:start]:  # lest a long answer starve the end
            ids = b"".join(index.short_ids(bits, number))
            size += len(ids) + 8
            if out and size > IDS_BYTES_MAX:
                break
            out.append((number, ids[:IDS_BYTES_MAX]))
        return _encode(out)


def is_sync(frame: bytes) -> bool:
    """Whether a request belongs to this protocol."""
    return frame[:1] in (b"\x02", b"\x03", b"\x04")


def split_ids(data: bytes) -> list[bytes]:
    """Short ids out of their concatenation. Raises DecodeError for a broken one."""
    if len(data) % SHORT_ID_BYTES or len(data) > IDS_BYTES_MAX:
        raise DecodeError("not a list of ids")
    return [data[i : i + SHORT_ID_BYTES] for i in range(0, len(data), SHORT_ID_BYTES)]
