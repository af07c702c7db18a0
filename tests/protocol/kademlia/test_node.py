from __future__ import annotations

import random

import pytest

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import peer_id, peer_id_bytes
from p2pcompute.protocol.kademlia import Contact, Kademlia, Kind, Message
from p2pcompute.protocol.kademlia.messages import CLOSER_MAX, decode, encode
from p2pcompute.protocol.kademlia.node import QUESTIONS_BURST, QUESTIONS_PER_S, believable

RNG = random.Random(8)
ASKER, PUBLIC, OFFICE, LOCAL = b"a" * 32, "/ip4/8.8.8.8/tcp/1", "/ip4/192.168.0.9/tcp/1", "/ip4/127.0.0.1/tcp/1"


def contact(*addresses: str, peer: bytes = b"") -> Contact:
    peer = peer or RNG.randbytes(32)
    return Contact(peer, tuple(f"{address}/p2p/{peer_id(peer)}" for address in addresses))


def ask(node: Kademlia, message: Message, address: str = PUBLIC, peer: bytes = ASKER) -> Message:
    answer = node.answer(peer, address, encode(message), 0)
    assert answer is not None
    return decode(answer)


def test_a_question_is_answered_from_the_table() -> None:
    node = Kademlia(bytes(32))
    for i in range(40):
        node.table.add(contact(f"/ip4/9.{i}.0.1/tcp/1"), 0)
    answer = ask(node, Message(Kind.FIND_NODE, b"key"))
    assert len(answer.closer) == CLOSER_MAX
    assert answer.kind is Kind.FIND_NODE


def test_the_wanted_peer_is_always_told() -> None:
    node, wanted = Kademlia(bytes(32)), contact(PUBLIC)
    node.table.add(wanted, 0)
    assert ask(node, Message(Kind.FIND_NODE, peer_id_bytes(wanted.peer))).closer[0] == wanted


def test_everybody_provides_for_themselves_only() -> None:
    node, mine = Kademlia(bytes(32)), contact(PUBLIC, peer=ASKER)
    record = Message(Kind.ADD_PROVIDER, b"key", providers=(mine, contact(PUBLIC)))
    assert node.answer(ASKER, PUBLIC, encode(record), 0) is None
    assert ask(node, Message(Kind.GET_PROVIDERS, b"key"), peer=b"b" * 32).providers == (mine,)


def test_a_flood_of_questions_is_refused_and_the_budget_grows_again() -> None:
    node = Kademlia(bytes(32))
    ping = encode(Message(Kind.PING))
    for _ in range(QUESTIONS_BURST):
        assert node.answer(ASKER, PUBLIC, ping, 0)
    with pytest.raises(DecodeError, match="too much"):
        node.answer(ASKER, PUBLIC, ping, 0)
    assert node.answer(b"b" * 32, PUBLIC, ping, 0)
    assert node.answer(ASKER, PUBLIC, ping, 1_000 // QUESTIONS_PER_S)


def test_a_question_without_a_key_is_refused() -> None:
    with pytest.raises(DecodeError, match="no key"):
        Kademlia(bytes(32)).answer(ASKER, PUBLIC, encode(Message(Kind.FIND_NODE)), 0)


@pytest.mark.parametrize(
    ("told_from", "kept"), [(PUBLIC, (PUBLIC,)), (OFFICE, (PUBLIC, OFFICE)), (LOCAL, (PUBLIC, OFFICE, LOCAL))]
)
def test_nobody_names_addresses_nearer_than_their_own(told_from: str, kept: tuple[str, ...]) -> None:
    """A peer of the internet cannot make us dial into our own machine or office."""
    named = contact(PUBLIC, OFFICE, LOCAL, peer=ASKER)
    assert believable(named, told_from) == contact(*kept, peer=ASKER)


def test_a_provider_record_keeps_believable_addresses_only() -> None:
    node = Kademlia(bytes(32))
    record = Message(Kind.ADD_PROVIDER, b"key", providers=(contact(LOCAL, OFFICE, PUBLIC, peer=ASKER),))
    node.answer(ASKER, PUBLIC, encode(record), 0)
    assert node.providers.get(b"key", 5, 0) == [contact(PUBLIC, peer=ASKER)]


def test_who_is_in_the_table_says_where_it_is_now() -> None:
    node, before, now = Kademlia(bytes(32)), contact(PUBLIC, peer=ASKER), contact("/ip4/8.8.4.4/tcp/2", peer=ASKER)
    record = encode(Message(Kind.ADD_PROVIDER, b"key", providers=(now,)))
    node.answer(ASKER, PUBLIC, record, 0)
    assert not len(node.table)
    node.table.add(before, 0)
    node.answer(ASKER, PUBLIC, record, 0)
    assert node.table.get(ASKER) == now
