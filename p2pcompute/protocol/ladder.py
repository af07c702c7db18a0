"""Listings in order of a price: what a query walks, from the cheapest up, until it has enough.

A sorted list in chunks. Every chunk knows the most that any of its listings has of each quantity that needs ask for, so
that a walk passes over whole chunks in which nothing fits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, takewhile
from operator import itemgetter
from typing import Final

from blake3 import blake3

from p2pcompute.protocol.matching import (
    RUNGS,
    Floor,
    Listing,
    Needs,
    RankBy,
    RoundTrip,
    bind,
    floors,
    merit,
    quantities,
)

CHUNK: Final = 256
"""Listings in a chunk that was just cut; it is cut again at twice as many. Inserting moves that many references, and a
walk through 200,000 listings in which nothing fits passes over some hundreds of chunks."""
_PEER_BITS: Final = 256


def key_of(price: int, peer: bytes) -> int:
    """Where a listing stands: by price, then by its peer's key, which makes it the only one there."""
    return price << _PEER_BITS | int.from_bytes(peer, "big")


def _most(listings: Sequence[Listing]) -> tuple[int, ...]:
    return tuple(max(column) for column in zip(*(quantities(x.offer.body) for x in listings), strict=True))


class _Chunk:
    """Consecutive listings and their keys. `most` may be too high after removals, never too low."""

    __slots__ = ("keys", "listings", "most", "removed")

    def __init__(self, keys: list[int], listings: list[Listing]) -> None:
        self.keys, self.listings = keys, listings
        self.most, self.removed = _most(listings), 0


class Ladder:
    """All listings of one resource class. No listing is added or removed while a walk is under way.

    What is new waits until the next walk: who never asks never pays for the order.
    """

    __slots__ = ("_chunks", "_lasts", "_rung", "_settled", "_sorts_by_limit", "_waiting")

    def __init__(self, *shared: str, by: RankBy = RankBy.DEVICE_SECOND) -> None:
        """`by` says which price. `shared` are constraints that all of its listings meet for whoever comes here."""
        self._rung = RUNGS[by]
        self._sorts_by_limit = by is RankBy.DEVICE_SECOND
        self._settled = ("price", *shared) if self._sorts_by_limit else shared
        self._waiting: dict[bytes, Listing] = {}
        self._chunks: list[_Chunk] = []
        self._lasts: list[int] = []
        """For each chunk a key that is no smaller than its last one, and smaller than all of the next chunk."""

    def __bool__(self) -> bool:
        return bool(self._chunks or self._waiting)

    def add(self, listing: Listing) -> None:
        """Take a listing in; its peer must not stand here."""
        self._waiting[listing.peer] = listing

    def remove(self, listing: Listing) -> None:
        """Take a listing out; it must be there."""
        if self._waiting.pop(listing.peer, None) is None:
            self._take(listing)

    def _key(self, listing: Listing) -> int:
        return key_of(self._rung(listing.offer.body), listing.peer)

    def _place_waiting(self) -> None:
        """Put what waits in its place: one by one, or, when little stands here beside it, by sorting all anew."""
        if 4 * len(self._waiting) < sum(len(chunk.keys) for chunk in self._chunks):
            for x in self._waiting.values():
                self._put(x)
        else:
            rungs = [(self._key(x), x) for x in self._waiting.values()]
            for chunk in self._chunks:
                rungs += zip(chunk.keys, chunk.listings, strict=True)
            rungs.sort(key=itemgetter(0))
            parts = [rungs[at : at + CHUNK] for at in range(0, len(rungs), CHUNK)]
            self._chunks = [_Chunk([key for key, _ in part], [x for _, x in part]) for part in parts]
            self._lasts = [chunk.keys[-1] for chunk in self._chunks]
        self._waiting.clear()

    def _put(self, listing: Listing) -> None:
        key = self._key(listing)
        at = bisect_left(self._lasts, key)
        if at == len(self._lasts):
            if not at:
                self._chunks.append(_Chunk([key], [listing]))
                self._lasts.append(key)
                return
            at -= 1
            self._lasts[at] = key
        chunk = self._chunks[at]
        place = bisect_left(chunk.keys, key)
        chunk.keys.insert(place, key)
        chunk.listings.insert(place, listing)
        chunk.most = tuple(map(max, chunk.most, quantities(listing.offer.body)))
        if len(chunk.keys) > 2 * CHUNK:
            self._replace(at, at + 1, (chunk.keys[:CHUNK], chunk.listings[:CHUNK]))
            self._replace(at + 1, at + 1, (chunk.keys[CHUNK:], chunk.listings[CHUNK:]))

    def _take(self, listing: Listing) -> None:
        key = self._key(listing)
        at = bisect_left(self._lasts, key)
        chunk = self._chunks[at]
        place = bisect_left(chunk.keys, key)
        del chunk.keys[place], chunk.listings[place]
        chunk.removed += 1
        if not chunk.keys:
            del self._chunks[at], self._lasts[at]
        elif len(chunk.keys) <= CHUNK // 4 and at + 1 < len(self._chunks):
            after = self._chunks[at + 1]
            if len(after.keys) <= CHUNK // 2:  # small neighbours become one, so that chunks stay few
                self._replace(at, at + 2, (chunk.keys + after.keys, chunk.listings + after.listings))
        elif chunk.removed > len(chunk.keys):
            chunk.most, chunk.removed = _most(chunk.listings), 0

    def _replace(self, begin: int, end: int, part: tuple[list[int], list[Listing]]) -> None:
        """One chunk in place of those from `begin` up to `end`."""
        self._chunks[begin:end] = [_Chunk(*part)]
        self._lasts[begin:end] = [part[0][-1]]

    def walk(self, least: Sequence[Floor] = (), start: int = 0) -> Iterator[Listing]:
        """The listings from the key `start` on, but for chunks where none has the least of some quantity."""
        if self._waiting:
            self._place_waiting()
        for at in range(bisect_left(self._lasts, start), len(self._chunks)):
            chunk = self._chunks[at]
            if all(chunk.most[number] >= floor for number, floor in least):
                if chunk.keys[0] < start:
                    yield from chunk.listings[bisect_left(chunk.keys, start) :]
                else:
                    yield from chunk.listings

    def ranked(
        self, needs: Needs, *, seed: bytes, demerits: Callable[[bytes], int], rtt: RoundTrip, scan: int
    ) -> Iterator[Listing]:
        """The fitting listings as `matching.rank` has them, until `scan` were looked at.

        Where that is amid many of one price, a look at as many of that price comes last, from a place that follows from
        the seed: not all jobs see the same ones.
        """
        tests = [test for name, test in bind(needs, rtt) if name not in self._settled]
        least = floors(needs)
        price_max = needs.price_per_device_s_max if self._sorts_by_limit else 0
        rung, by_price = self._rung, self._sorts_by_limit
        walk = self.walk(least)
        price, tied = -1, list[Listing]()
        for x in islice(walk, scan):
            offer = x.offer.body
            at = offer.price_per_device_s if by_price else rung(offer)
            if at != price:
                if tied:
                    yield from _untied(tied, seed, demerits)
                    tied = []
                price = at
                if price > price_max > 0:
                    return
            for holds in tests:
                if not holds(offer, x):
                    break
            else:
                if demerits(x.operator) >= 0:
                    tied.append(x)
        after = next(walk, None)
        if after is not None and rung(after.offer.body) == price:
            tied = [
                x
                for x in self._window(least, price, blake3(seed).digest(), scan)
                if demerits(x.operator) >= 0 and all(holds(x.offer.body, x) for holds in tests)
            ]
        yield from _untied(tied, seed, demerits)

    def _window(self, least: Sequence[Floor], price: int, pivot: bytes, most: int) -> Iterator[Listing]:
        """At most so many of one price, from `pivot` on and then round to it again."""
        first, middle, end = key_of(price, b""), key_of(price, pivot), key_of(price + 1, b"")
        behind = takewhile(lambda x: self._key(x) < end, self.walk(least, middle))
        before = takewhile(lambda x: self._key(x) < middle, self.walk(least, first))
        return islice(chain(behind, before), most)


def _untied(tied: list[Listing], seed: bytes, demerits: Callable[[bytes], int]) -> list[Listing]:
    return sorted(tied, key=lambda x: merit(x, seed, demerits)) if len(tied) > 1 else tied
