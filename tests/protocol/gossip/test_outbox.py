from __future__ import annotations

from p2pcompute.protocol.gossip.outbox import Outbox, Weight
from p2pcompute.protocol.machine import Priority, Send

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def test_one_part_for_many_is_one_send() -> None:
    outbox = Outbox("channel")
    outbox.spread([A, B], b"part", Weight.MESSAGE)
    assert outbox.take() == [Send((A, B), "channel", b"part", Priority.NORMAL)]
    assert outbox.take() == []


def test_what_is_said_besides_goes_into_the_same_rpc() -> None:
    outbox = Outbox("channel")
    outbox.spread([A, B, C], b"one", Weight.MESSAGE)
    outbox.add(B, b"two", Weight.REPAIR)
    outbox.spread([A, B], b"three", Weight.REPAIR)
    assert outbox.take() == [
        Send((A,), "channel", b"onethree", Priority.NORMAL),
        Send((B,), "channel", b"onetwothree", Priority.NORMAL),
        Send((C,), "channel", b"one", Priority.NORMAL),
    ]


def test_a_peer_that_is_dropped_gets_no_part_of_what_was_for_all() -> None:
    outbox = Outbox("channel")
    outbox.spread([A, B], b"part", Weight.MESSAGE)
    outbox.drop(A)
    assert outbox.take() == [Send((B,), "channel", b"part", Priority.NORMAL)]
