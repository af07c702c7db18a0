"""Which part of the book a peer keeps: all of it while the network is small, and beyond that the shard it sells in.

A shard is a depth and a bucket: the keys whose hash begins with these bits. At depth 0 there is one, the whole book. A
provider goes one deeper when its shard holds more offers than SHARD_OFFERS_MAX, and one back when it holds fewer than a
quarter of that. Nobody counts the network: all in one shard see the same offers, so they go at about the same time, and
who goes a little later loses nothing, since subscriptions overlap for one lifetime of an offer. Rules H1 to H7 of
docs/spec/market.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from blake3 import blake3

SHARD_OFFERS_MAX: Final = 512
"""Beyond so many a shard is cut in two: at the most some 9 kB/s for each of its peers (docs/scale.md)."""
SHARD_OFFERS_MIN: Final = SHARD_OFFERS_MAX // 4
"""Below it two become one again: half of what either had when it was cut, so that they do not go to and fro."""
OVERLAP_MS: Final = 600_000
"""How long the shard before is still listened to: the lifetime of an offer. Nobody goes back sooner either."""
SETTLED_MS: Final = 10_000
"""Who leaves a shard sooner than that has said nothing in it yet that others need to hear."""
DEPTH_MAX: Final = 20
"""Enough for 500 million offers."""


class Shard(NamedTuple):
    """The keys whose hash begins with the `depth` bits of `bucket`."""

    depth: int
    bucket: int

    def holds(self, key: bytes) -> bool:
        """Whether what this key signs belongs here."""
        return not self.depth or shard_of(key, self.depth).bucket == self.bucket


WHOLE: Final = Shard(0, 0)


def shard_of(key: bytes, depth: int) -> Shard:
    """Where a key belongs. Its hash decides, since the first bits of keys need not be random."""
    return Shard(depth, int.from_bytes(blake3(key).digest(length=4), "big") >> (32 - depth))


def topic_of(network: str, shard: Shard = WHOLE) -> str:
    """Where the offers of a shard are spread. "any" stands for a resource class and a region, which all share."""
    return f"/p2pcompute/{network}/offers/any/any/{shard.depth}/{shard.bucket}"


def parse_topic(network: str, topic: str) -> Shard | None:
    """The shard of a topic; None for other topics."""
    head = topic_of(network, WHOLE)[:-3]
    depth, _, bucket = topic.removeprefix(head).partition("/")
    if not topic.startswith(head) or not (
        depth.isascii() and depth.isdigit() and bucket.isascii() and bucket.isdigit()
    ):
        return None
    if len(depth) > 2 or len(bucket) > 7 or int(depth) > DEPTH_MAX or int(bucket) >> int(depth):
        return None
    shard = Shard(int(depth), int(bucket))
    return shard if topic_of(network, shard) == topic else None


def is_full(offers: int) -> bool:
    """Whether a shard is to be cut in two."""
    return offers > SHARD_OFFERS_MAX


def heard_depth(homes: Iterable[Shard]) -> int:
    """How deep the network is, by where neighbours are: as deep as at least two of them, or the only one; one alone
    cannot send others to where nobody is."""
    deepest = sorted((shard.depth for shard in homes), reverse=True)
    return deepest[min(1, len(deepest) - 1)] if deepest else 0


class Membership:
    """Where one peer is. The core feeds it what it sees, and subscribes as it says."""

    def __init__(self, me: bytes, depth: int = 0) -> None:
        self._me = me
        self.home: Shard | None = shard_of(me, depth)
        """Where our offer is told, and what we keep in step with others; None: nothing."""
        self.leaving: dict[Shard, int] = {}
        """Shards we came from, each with when we stop listening."""
        self._since_ms = 0

    @property
    def shards(self) -> Iterator[Shard]:
        """All that we listen to."""
        if self.home is not None:
            yield self.home
        yield from self.leaving

    def review(self, now_ms: int, *, sells: bool, held: int, depth: int) -> bool:
        """Look whether to go elsewhere, and go; whether anything changed. `held`: offers in our home. `depth`: how deep
        neighbours are."""
        gone = [shard for shard, until_ms in self.leaving.items() if until_ms <= now_ms]
        for shard in gone:
            del self.leaving[shard]
        wanted = self._wanted(now_ms, sells=sells, held=held, depth=depth)
        if wanted == self.home:
            return bool(gone)
        if self.home is not None and now_ms - self._since_ms >= SETTLED_MS:
            self.leaving[self.home] = now_ms + OVERLAP_MS
        if wanted is not None:
            self.leaving.pop(wanted, None)
        self.home, self._since_ms = wanted, now_ms
        return True

    def _wanted(self, now_ms: int, *, sells: bool, held: int, depth: int) -> Shard | None:
        rested = now_ms - self._since_ms >= OVERLAP_MS
        if not sells:
            is_large = is_full(held) if self.home == WHOLE else not rested
            return None if depth or is_large else WHOLE
        if self.home is None:
            return shard_of(self._me, depth)
        if is_full(held) and self.home.depth < DEPTH_MAX:
            return shard_of(self._me, self.home.depth + 1)
        if self.home == WHOLE:
            return shard_of(self._me, depth)
        if held < SHARD_OFFERS_MIN and depth != self.home.depth and now_ms - self._since_ms >= SETTLED_MS:
            return shard_of(self._me, depth)  # few are here, and others are elsewhere
        if held < SHARD_OFFERS_MIN and rested:
            return shard_of(self._me, self.home.depth - 1)
        return self.home
