"""Pulling candidates: who holds no shard asks some peers of one for the best offers for its needs.

    pull   0x05 || [depth, bucket, needs, seed, most, window]  ->  [offers held, [offer, ...]]

A peer that answers can hide offers, or show only those of its friends. So three are asked, drawn by lot; what any of
them shows is judged by the rules of gossip, and probed like any other offer. Rules Q1 to Q6 of docs/spec/market.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Final, NamedTuple

import msgspec

from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import Budget
from p2pcompute.protocol.machine import Effect, Emit, Find, Now, Ok, Outcome, Request
from p2pcompute.protocol.matching import Needs, rendezvous
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.shards import DEPTH_MAX, WHOLE, Shard, topic_of
from p2pcompute.wire import limits

PULL: Final = 0x05
PEERS_ASKED: Final = 3
"""One that lies then decides nothing alone."""
OFFERS_MAX: Final = 64
SEED_BYTES_MAX: Final = 32
ANSWER_BYTES_MAX: Final = 128 * limits.KIB
FRAME_BYTES_MAX: Final = 64 * limits.KIB
COST: Final = 16
"""What an answer takes of the asker's budget: a look at SCAN_MAX listings is worth as many signature checks."""
ASK_MS: Final = 1_000
FRESH_MS: Final = 30_000
"""What was pulled for one job serves others of its class for so long."""
JOBS_MAX: Final = 4_096
CLASSES_MAX: Final = 1_024

_Bucket = Annotated[int, msgspec.Meta(ge=0, lt=1 << DEPTH_MAX)]
_Window = Annotated[int, msgspec.Meta(ge=1, le=limits.SCAN_MAX)]


class Pull(NamedTuple):
    """Up to `most` offers of a shard, drawn by the seed from the `window` best that fit these needs."""

    depth: Annotated[int, msgspec.Meta(ge=0, le=DEPTH_MAX)]
    bucket: _Bucket
    needs: Needs
    seed: Annotated[bytes, msgspec.Meta(max_length=SEED_BYTES_MAX)]
    most: Annotated[int, msgspec.Meta(ge=1, le=OFFERS_MAX)]
    window: _Window


class Found(NamedTuple):
    """How many offers the answering peer holds of the shard, and those asked for."""

    held: Annotated[int, msgspec.Meta(ge=0, le=limits.OFFERS_MAX)]
    offers: Annotated[list[bytes], msgspec.Meta(max_length=OFFERS_MAX)]


_encode: Final = msgspec.msgpack.Encoder().encode
_pulls: Final = msgspec.msgpack.Decoder(Pull)
_answers: Final = msgspec.msgpack.Decoder(Found)


@dataclasses.dataclass(slots=True)
class _Asking:
    """One pull for one job: which shard, how many answers are still to come."""

    shard: Shard
    needs: Needs
    window: int
    waiting: int = 0


class Where(NamedTuple):
    """What the core knows of the network: `home` and `depth` of ours and of neighbours, and who is in a shard."""

    home: Callable[[], Shard | None]
    depth: Callable[[], int]
    mates: Callable[[Shard], list[bytes]]


class Candidates:
    """Both sides of pulling."""

    def __init__(self, post: Post, book: Book, budget: Budget, where: Where) -> None:
        self._post, self._book, self._budget, self._where = post, book, budget, where
        self._asking: dict[bytes, _Asking] = {}
        self._pulls: dict[bytes, int] = {}
        """Job -> how often something was pulled for it."""
        self._fresh: dict[tuple[str, str], int] = {}
        """Resource class -> when something was pulled for it last."""

    @property
    def has_all(self) -> bool:
        """Whether our own book is everybody's."""
        return self._where.home() == WHOLE

    # -- asking --------------------------------------------------------------------------------------------------------

    def is_due(self, now: Now, job: bytes, needs: Needs, dry_rounds: int) -> bool:
        """Whether this job should look beyond our book: at first, unless we have everything or what was pulled a moment
        ago, and after every fruitless round."""
        if self.has_all:
            return False
        self._asking.pop(job, None)  # what was asked before took too long
        pulls = self._pulls.get(job, 0)
        last_ms = self._fresh.get((needs.engine, needs.model))
        if not pulls and not dry_rounds and last_ms is not None and now.mono_ms < last_ms + FRESH_MS:
            return False
        return pulls <= dry_rounds

    def pull(self, now: Now, job: bytes, needs: Needs, window: int) -> list[Effect]:
        """Ask three peers of a shard drawn by lot. `on_response` says when all have answered."""
        self._count(now, job, needs)
        depth = self._where.depth()
        shard = Shard(depth, self._post.env.rng.randrange(1 << depth))
        asking = self._asking[job] = _Asking(shard, needs, min(window, limits.SCAN_MAX))
        known = self._where.mates(shard)
        if len(known) < PEERS_ASKED:
            return [Find(topic_of(self._post.network, shard))]
        return [*self._ask(job, asking, [(peer, ()) for peer in known])]

    def _count(self, now: Now, job: bytes, needs: Needs) -> None:
        self._pulls[job] = self._pulls.pop(job, 0) + 1
        self._fresh.pop((needs.engine, needs.model), None)
        self._fresh[needs.engine, needs.model] = now.mono_ms
        while len(self._pulls) > JOBS_MAX:
            del self._pulls[next(iter(self._pulls))]
        while len(self._fresh) > CLASSES_MAX:
            del self._fresh[next(iter(self._fresh))]

    def on_found(self, topic: str, peers: Iterable[tuple[bytes, tuple[str, ...]]]) -> tuple[list[Effect], list[bytes]]:
        """The DHT named peers of a shard: questions to some, and the jobs for which there is nobody to ask."""
        out: list[Effect] = []
        over: list[bytes] = []
        named = [(peer, addresses) for peer, addresses in peers if peer != self._post.env.me]
        for job, asking in list(self._asking.items()):
            if asking.waiting or topic_of(self._post.network, asking.shard) != topic:
                continue
            known = [(peer, ()) for peer in self._where.mates(asking.shard)]
            others = dict([*named, *known])
            if others:
                out += self._ask(job, asking, list(others.items()))
            else:
                del self._asking[job]
                over.append(job)
        return out, over

    def _ask(self, job: bytes, asking: _Asking, peers: list[tuple[bytes, tuple[str, ...]]]) -> list[Request]:
        addresses = dict(peers)
        order = list(addresses)
        self._post.env.rng.shuffle(order)
        chosen = order[:PEERS_ASKED]
        asking.waiting = len(chosen)
        pull = Pull(*asking.shard, asking.needs, self._post.env.rng.randbytes(16), OFFERS_MAX, asking.window)
        frame = bytes((PULL,)) + _encode(pull)
        return [
            self._post.ask(
                peer, frame, Tag("candidates", "pull", job, peer), timeout_ms=ASK_MS, addresses=addresses[peer]
            )
            for peer in chosen
        ]

    def on_response(self, now: Now, tag: Tag, outcome: Outcome) -> tuple[list[Effect], bool]:
        """An answer, or none: events, and whether all of its job have come."""
        out: list[Effect] = []
        if isinstance(outcome, Ok) and len(outcome.frame) <= ANSWER_BYTES_MAX + limits.KIB:
            try:
                offers = _answers.decode(outcome.frame).offers
            except msgspec.MsgspecError:
                offers = []
                out.append(Emit("peer.fault", {"peer": tag.peer, "reason": "candidates that are none"}))
            for raw in offers:
                if self._budget.spend(now, tag.peer):
                    out += self._book.judge(now, raw)[2]
        asking = self._asking.get(tag.subject)
        if asking is None:
            return out, False
        asking.waiting -= 1
        if asking.waiting:
            return out, False
        del self._asking[tag.subject]
        return out, True

    # -- answering -----------------------------------------------------------------------------------------------------

    def answer(self, now: Now, peer: bytes, frame: bytes) -> bytes | None:
        """The best of our shard, by lot; None for what is malformed, beyond the asker's budget or of another shard."""
        if len(frame) > FRAME_BYTES_MAX or not all(self._budget.spend(now, peer) for _ in range(COST)):
            return None
        try:
            pull = _pulls.decode(frame[1:])
        except msgspec.MsgspecError:
            return None
        shard = Shard(pull.depth, pull.bucket)
        if shard != self._where.home():
            return None
        ranked = self._book.ranked(pull.needs, seed=pull.seed, demerits=_no_demerits)
        window = islice((x for x in ranked if shard.holds(x.peer)), pull.window)
        drawn = sorted(window, key=lambda x: rendezvous(pull.seed, x.peer))
        offers: list[bytes] = []
        size = 0
        for x in drawn[: pull.most]:
            size += len(x.offer.raw) + 5
            if size > ANSWER_BYTES_MAX:
                break
            offers.append(x.offer.raw)
        return _encode(Found(self._book.count(shard), offers))


def is_pull(frame: bytes) -> bool:
    """Whether a request belongs to this protocol."""
    return frame[:1] == bytes((PULL,))


def _no_demerits(operator: bytes) -> int:
    """What we think of others is nobody else's business."""
    return 0
