"""The routing table: peers that answered us, few of them far away and all that are near.

Source: libp2p specification `kad-dht/README.md` ("Kademlia routing table"); the bound per network follows
go-libp2p-kbucket's peer diversity. An old peer that still answers is never pushed out by a new one: who floods us with
identities gains nothing (Maymounkov and Mazieres 2002, section 2.2).
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator
from typing import Final

from p2pcompute.protocol.kademlia.messages import Contact, peer_position
from p2pcompute.wire.multiaddr import network_of

BUCKET_PEERS_MAX: Final = 20
"""k of the specification."""
TABLE_PEERS_MAX: Final = 1_024
"""Of 256 buckets: a network of a million peers fills about sixteen of them."""
NETWORK_PEERS_PER_BUCKET_MAX: Final = 2
"""Peers of one /24 or /48 in one bucket; private networks do not count."""
NETWORK_PEERS_MAX: Final = 8
"""Of one network in the whole table."""
FAILURES_MAX: Final = 2
"""Questions in a row without an answer, before a peer goes."""
STALE_MS: Final = 3_600_000
"""A peer that said nothing for so long gives way to a new one."""
_BITS: Final = 256


@dataclasses.dataclass(slots=True)
class _Entry:
    contact: Contact
    position: int
    network: str
    heard_ms: int
    failures: int = 0


class Table:
    """Peers by how close they are to `me`."""

    def __init__(self, me: bytes) -> None:
        self._me, self._own = me, peer_position(me)
        self._buckets: dict[int, dict[bytes, _Entry]] = {}
        self._networks: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Contact]:
        for _, bucket in sorted(self._buckets.items()):
            for entry in bucket.values():
                yield entry.contact

    def get(self, peer: bytes) -> Contact | None:
        entry = self._entry(peer)
        return entry.contact if entry is not None else None

    def add(self, contact: Contact, now_ms: int) -> bool:
        """A peer answered at these addresses; whether it is in the table now."""
        if contact.peer == self._me or not contact.addresses:
            return False
        where = peer_position(contact.peer)
        bucket = self._buckets.get(self._index(where), {})
        old = bucket.get(contact.peer)
        network = network_of(contact.addresses[0])
        if old is not None:
            self._drop(old)
        if not self._has_room(bucket, network, now_ms):
            if old is not None:  # it moved where there are too many: what was known of it stays
                self._put(old)
            return old is not None
        self._put(_Entry(contact, where, network, now_ms))
        return True

    def failed(self, peer: bytes) -> None:
        """A peer did not answer."""
        entry = self._entry(peer)
        if entry is not None:
            entry.failures += 1
            if entry.failures >= FAILURES_MAX:
                self._drop(entry)

    def closest(self, target: int, count: int) -> list[Contact]:
        """Those nearest to a position, the nearest first."""
        entries = (entry for bucket in self._buckets.values() for entry in bucket.values())
        return [entry.contact for entry in heapq.nsmallest(count, entries, key=lambda e: e.position ^ target)]

    def _has_room(self, bucket: dict[bytes, _Entry], network: str, now_ms: int) -> bool:
        if network:
            if self._networks.get(network, 0) >= NETWORK_PEERS_MAX:
                return False
            if sum(one.network == network for one in bucket.values()) >= NETWORK_PEERS_PER_BUCKET_MAX:
                return False
        if len(bucket) >= BUCKET_PEERS_MAX or self._count >= TABLE_PEERS_MAX:
            idle = [one for one in bucket.values() if one.failures or now_ms - one.heard_ms > STALE_MS]
            if not idle:
                return False
            self._drop(min(idle, key=lambda e: e.heard_ms))
        return True

    def _index(self, where: int) -> int:
        """The bucket: how many leading bits a position has in common with ours."""
        return _BITS - (where ^ self._own).bit_length()

    def _entry(self, peer: bytes) -> _Entry | None:
        return self._buckets.get(self._index(peer_position(peer)), {}).get(peer)

    def _put(self, entry: _Entry) -> None:
        self._buckets.setdefault(self._index(entry.position), {})[entry.contact.peer] = entry
        self._count += 1
        if entry.network:
            self._networks[entry.network] = self._networks.get(entry.network, 0) + 1

    def _drop(self, entry: _Entry) -> None:
        index = self._index(entry.position)
        bucket = self._buckets[index]
        del bucket[entry.contact.peer]
        if not bucket:
            del self._buckets[index]
        self._count -= 1
        if entry.network:
            self._networks[entry.network] -= 1
            if not self._networks[entry.network]:
                del self._networks[entry.network]
