from __future__ import annotations

import random

from p2pcompute.protocol.kademlia.messages import ADDRESSES_MAX, Contact, peer_position
from p2pcompute.protocol.kademlia.search import ASKED_AT_ONCE, CANDIDATES_MAX, QUESTIONS_MAX, RESULT_PEERS, Search

RNG = random.Random(7)
ME = bytes(32)


def contacts(count: int) -> list[Contact]:
    return [Contact(RNG.randbytes(32), ("/ip4/10.0.0.1/tcp/1",)) for _ in range(count)]


def test_a_few_are_asked_at_once_the_nearest_first() -> None:
    target, start = 1, contacts(10)
    search = Search(ME, target, start)
    asked = search.next()
    assert asked == sorted(start, key=lambda one: peer_position(one.peer) ^ target)[:ASKED_AT_ONCE]
    assert search.next() == []
    search.failed(asked[0].peer)
    assert len(search.next()) == 1


def test_a_world_is_searched_to_its_nearest_peers() -> None:
    world, target = contacts(300), peer_position(RNG.randbytes(32))
    near = sorted(world, key=lambda one: peer_position(one.peer) ^ target)
    search = Search(ME, target, RNG.sample(world, 5))
    while not search.done:
        for one in search.next():
            own = peer_position(one.peer)
            known = sorted(world, key=lambda other: peer_position(other.peer) ^ own)[:20] + RNG.sample(world, 20)
            search.answered(one.peer, sorted(known, key=lambda other: peer_position(other.peer) ^ target)[:20])
    assert search.result()[:10] == near[:10]
    assert len(search.result()) <= RESULT_PEERS


def test_invented_peers_end_a_search_at_its_bound() -> None:
    search, questions = Search(ME, 0, contacts(1)), 0
    while not search.done:
        for one in search.next():
            questions += 1
            nearer = sorted(contacts(200), key=lambda other: peer_position(other.peer))[:20]
            search.answered(one.peer, nearer)
        assert len(search._candidates) <= CANDIDATES_MAX + 20
    assert questions <= QUESTIONS_MAX


def test_nobody_to_ask_is_done() -> None:
    assert Search(ME, 0, []).done
    assert Search(ME, 0, [Contact(ME, ("/ip4/10.0.0.1/tcp/1",))]).done


def test_what_several_say_of_a_peer_counts_together() -> None:
    one, two = contacts(2)
    wanted = RNG.randbytes(32)
    search = Search(ME, peer_position(wanted), [one, two])
    search.next()
    search.answered(one.peer, [Contact(wanted, tuple(f"/ip4/10.0.0.2/tcp/{port}" for port in range(1, 3)))])
    search.answered(two.peer, [Contact(wanted, tuple(f"/ip4/10.0.0.3/tcp/{port}" for port in range(1, 9)))])
    found = search.contact(wanted)
    assert found is not None
    assert found.addresses[:3] == ("/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.2/tcp/2", "/ip4/10.0.0.3/tcp/1")
    assert len(found.addresses) == ADDRESSES_MAX
