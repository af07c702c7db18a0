from __future__ import annotations

import random

from p2pcompute.identity.names import peer_id
from p2pcompute.protocol.kademlia import table as module
from p2pcompute.protocol.kademlia.messages import Contact, peer_position
from p2pcompute.protocol.kademlia.table import (
    BUCKET_PEERS_MAX,
    FAILURES_MAX,
    NETWORK_PEERS_MAX,
    NETWORK_PEERS_PER_BUCKET_MAX,
    STALE_MS,
    Table,
)

ME = bytes(32)
RNG = random.Random(5)


def contact(host: str = "10.0.0.1") -> Contact:
    peer = RNG.randbytes(32)
    return Contact(peer, (f"/ip4/{host}/tcp/1/p2p/{peer_id(peer)}",))


def in_bucket(index: int, host: str = "10.0.0.1") -> Contact:
    """A peer whose position shares exactly `index` leading bits with ours."""
    while True:
        found = contact(host)
        if 256 - (peer_position(found.peer) ^ peer_position(ME)).bit_length() == index:
            return found


def test_the_nearest_come_first() -> None:
    table, members = Table(ME), [contact() for _ in range(12)]
    for one in members:
        table.add(one, 0)
    target = peer_position(RNG.randbytes(32))
    kept = [one for one in members if table.get(one.peer)]
    assert table.closest(target, 5) == sorted(kept, key=lambda one: peer_position(one.peer) ^ target)[:5]


def test_we_and_the_unreachable_are_not_in_it() -> None:
    table = Table(ME)
    assert not table.add(Contact(ME, contact().addresses), 0)
    assert not table.add(Contact(RNG.randbytes(32)), 0)
    assert not len(table)


def test_old_peers_that_answer_stay_whoever_floods() -> None:
    table = Table(ME)
    old = [in_bucket(0) for _ in range(BUCKET_PEERS_MAX)]
    assert [table.add(one, 0) for one in old].count(True) == BUCKET_PEERS_MAX
    assert [table.add(in_bucket(0), STALE_MS) for _ in range(100)].count(True) == 0
    assert {one.peer for one in table} == {one.peer for one in old}


def test_a_peer_that_failed_or_fell_silent_gives_way() -> None:
    table = Table(ME)
    old = [in_bucket(0) for _ in range(BUCKET_PEERS_MAX)]
    for one in old:
        table.add(one, 0)
    table.failed(old[3].peer)
    assert table.add(in_bucket(0), 1)
    assert table.get(old[3].peer) is None
    assert table.add(in_bucket(0), STALE_MS + 1)


def test_a_peer_that_does_not_answer_goes_and_one_answer_clears_it() -> None:
    table, one = Table(ME), contact()
    table.add(one, 0)
    for _ in range(FAILURES_MAX - 1):
        table.failed(one.peer)
    table.add(one, 1)
    table.failed(one.peer)
    assert table.get(one.peer) is not None
    table.failed(one.peer)
    assert table.get(one.peer) is None
    table.failed(one.peer)


def test_one_network_fills_neither_a_bucket_nor_the_table() -> None:
    table = Table(ME)
    assert [table.add(in_bucket(0, f"9.9.9.{i}"), 0) for i in range(4)].count(True) == NETWORK_PEERS_PER_BUCKET_MAX
    for index in range(1, 8):
        for i in range(4):
            table.add(in_bucket(index, f"9.9.9.{i}"), 0)
    assert len(table) == NETWORK_PEERS_MAX


def test_peers_of_an_office_are_neighbours() -> None:
    table = Table(ME)
    assert [table.add(in_bucket(0, f"192.168.1.{i}"), 0) for i in range(10)].count(True) == 10


def test_a_peer_that_moves_is_found_where_it_is_now() -> None:
    table, one = Table(ME), contact("9.9.9.9")
    table.add(one, 0)
    moved = Contact(one.peer, (f"/ip4/8.8.8.8/tcp/1/p2p/{peer_id(one.peer)}",))
    assert table.add(moved, 1)
    assert table.get(one.peer) == moved
    assert len(table) == 1
    assert table._networks == {"8.8.8.0/24": 1}


def test_the_whole_table_has_a_bound() -> None:
    assert module.TABLE_PEERS_MAX >= 16 * BUCKET_PEERS_MAX
    table = Table(ME)
    for _ in range(3_000):
        table.add(contact(), 0)
    assert len(table) <= module.TABLE_PEERS_MAX
    assert max(map(len, table._buckets.values())) <= BUCKET_PEERS_MAX
