"""Provider records: which peers said of themselves that they serve a key. Bounded in every direction."""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol.kademlia.messages import Contact
from p2pcompute.wire.multiaddr import network_of

LIFETIME_MS: Final = 2 * 3_600_000
"""Shorter than the specification's 48 h: nodes come and go, and tell their topics anew every half hour."""
KEYS_MAX: Final = 1_024
PROVIDERS_PER_KEY_MAX: Final = 128
RECORDS_PER_PEER_MAX: Final = 64
"""Keys of one peer: a node serves a handful of topics."""
NETWORK_PER_KEY_MAX: Final = 16
"""Providers of one key from one /24 or /48; private networks do not count."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Record:
    contact: Contact
    network: str
    until_ms: int


class Providers:
    """Records by key. The record told last stands last; those that run out first go first."""

    def __init__(self) -> None:
        self._keys: dict[bytes, dict[bytes, _Record]] = {}
        self._of_peer: dict[bytes, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._keys.values()))

    def add(self, key: bytes, contact: Contact, now_ms: int) -> bool:
        """`contact` says that it provides `key`; whether that is kept."""
        self._expire(key, now_ms)
        records = self._keys.get(key, {})
        network = network_of(contact.addresses[0]) if contact.addresses else ""
        if contact.peer in records:
            self._drop(key, contact.peer)
        elif self._of_peer.get(contact.peer, 0) >= RECORDS_PER_PEER_MAX:
            return False
        if network and sum(one.network == network for one in records.values()) >= NETWORK_PER_KEY_MAX:
            return False
        if len(records) >= PROVIDERS_PER_KEY_MAX:
            self._drop(key, next(iter(records)))
        if key not in self._keys and len(self._keys) >= KEYS_MAX and not self._make_room(now_ms):
            return False
        self._keys.setdefault(key, {})[contact.peer] = _Record(contact, network, now_ms + LIFETIME_MS)
        self._of_peer[contact.peer] = self._of_peer.get(contact.peer, 0) + 1
        return True

    def get(self, key: bytes, count: int, now_ms: int) -> list[Contact]:
        """Up to `count` providers, those that told last first."""
        self._expire(key, now_ms)
        return [record.contact for record in reversed(self._keys.get(key, {}).values())][:count]

    def _make_room(self, now_ms: int) -> bool:
        """Let the keys go whose records ran out, else the key that the fewest peers provide: who floods us with keys
        pushes out their own."""
        for key in list(self._keys):
            self._expire(key, now_ms)
        if len(self._keys) >= KEYS_MAX:
            least = min(self._keys, key=lambda key: len(self._keys[key]))
            for peer in list(self._keys[least]):
                self._drop(least, peer)
        return True

    def _expire(self, key: bytes, now_ms: int) -> None:
        for peer in [peer for peer, one in self._keys.get(key, {}).items() if one.until_ms <= now_ms]:
            self._drop(key, peer)

    def _drop(self, key: bytes, peer: bytes) -> None:
        records = self._keys[key]
        del records[peer]
        if not records:
            del self._keys[key]
        self._of_peer[peer] -= 1
        if not self._of_peer[peer]:
            del self._of_peer[peer]
