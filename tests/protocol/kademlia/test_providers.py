from __future__ import annotations

import random

from p2pcompute.identity.names import peer_id
from p2pcompute.protocol.kademlia.messages import Contact
from p2pcompute.protocol.kademlia.providers import (
    KEYS_MAX,
    LIFETIME_MS,
    NETWORK_PER_KEY_MAX,
    PROVIDERS_PER_KEY_MAX,
    RECORDS_PER_PEER_MAX,
    Providers,
)

RNG = random.Random(6)


def contact(host: str = "10.0.0.1", peer: bytes = b"") -> Contact:
    peer = peer or RNG.randbytes(32)
    return Contact(peer, (f"/ip4/{host}/tcp/1/p2p/{peer_id(peer)}",))


def test_the_last_to_tell_comes_first() -> None:
    providers, one, two = Providers(), contact(), contact()
    providers.add(b"k", one, 0)
    providers.add(b"k", two, 1)
    assert providers.get(b"k", 5, 2) == [two, one]
    providers.add(b"k", one, 3)
    assert providers.get(b"k", 1, 4) == [one]
    assert len(providers) == 2


def test_a_record_runs_out() -> None:
    providers = Providers()
    providers.add(b"k", contact(), 0)
    assert providers.get(b"k", 5, LIFETIME_MS - 1)
    assert not providers.get(b"k", 5, LIFETIME_MS)
    assert not len(providers)
    assert not providers._of_peer


def test_one_peer_tells_a_few_keys_only() -> None:
    providers, one = Providers(), contact()
    told = [providers.add(bytes([i]), one, 0) for i in range(RECORDS_PER_PEER_MAX + 5)]
    assert told.count(True) == RECORDS_PER_PEER_MAX


def test_a_key_has_room_for_so_many() -> None:
    providers = Providers()
    for _ in range(2 * PROVIDERS_PER_KEY_MAX):
        providers.add(b"k", contact(), 0)
    assert len(providers) == PROVIDERS_PER_KEY_MAX


def test_one_network_does_not_fill_a_key() -> None:
    providers = Providers()
    for i in range(2 * NETWORK_PER_KEY_MAX):
        providers.add(b"k", contact(f"9.9.9.{i}"), 0)
    assert len(providers) == NETWORK_PER_KEY_MAX


def test_a_flood_of_keys_pushes_out_its_own() -> None:
    providers, honest = Providers(), [contact(), contact()]
    for one in honest:
        providers.add(b"honest", one, 0)
    for number in range(2 * KEYS_MAX):
        providers.add(number.to_bytes(4, "big"), contact(), 0)
    assert len(providers._keys) <= KEYS_MAX
    assert providers.get(b"honest", 5, 0) == honest[::-1]
