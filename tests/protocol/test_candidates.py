"""Pulling candidates from peers of a shard: what they answer, and what one that lies can do."""

from __future__ import annotations

import random

import msgspec
import pytest

from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol import candidates
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import BURST, Budget
from p2pcompute.protocol.candidates import Candidates, Found, Pull, Where, is_pull
from p2pcompute.protocol.machine import Environment, Find, Missed, Now, Ok, Outcome, Request
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.shards import WHOLE, Shard, shard_of, topic_of
from p2pcompute.wire import documents as d

NETWORK = "test"
NOW = Now(0, 1_800_000_000_000)
JOB = bytes(16)
ASKER = bytes(32)


def offer(i: int, *, price: int = 0, engine: str = "cpu") -> bytes:
    key = KeyPair(i.to_bytes(32, "big"))
    body = d.Offer(b"", (), engine, "m", "c", "jail", "r", 2**30, 1000, 1, 1, 1, price or i, 1)
    return d.Author(NETWORK, key.public, bytes(8), key.sign).write(NOW.wall_ms, body, lifetime_ms=600_000).raw


def peer_of(i: int) -> bytes:
    return KeyPair(i.to_bytes(32, "big")).public


class Side:
    """A peer in a shard, or none."""

    def __init__(self, name: int, home: Shard | None, offers: list[bytes], mates: list[bytes] | None = None) -> None:
        key = KeyPair(bytes([name]) * 32)
        env = Environment(key.public, key.sign, verify, random.Random(name), bytes(32))
        self.post = Post(env, NETWORK, bytes(8), b"")
        self.book, self.me, self.depth, self.mates = Book(self.post), key.public, 0, mates or []
        for raw in offers:
            self.book.judge(NOW, raw)
        self.book.keep(() if home is None else (home,))
        where = Where(lambda: home, lambda: self.depth, lambda shard: self.mates)
        self.candidates = Candidates(self.post, self.book, Budget(), where)


def pull(shard: Shard = WHOLE, needs: Needs | None = None, *, most: int = 64, window: int = 1_024) -> bytes:
    asked = Pull(*shard, needs or Needs(), b"seed", most, window)
    return bytes((candidates.PULL,)) + msgspec.msgpack.encode(asked)


def found(answer: bytes | None) -> Found:
    assert answer is not None
    return msgspec.msgpack.decode(answer, type=Found)


def signers(answer: bytes | None) -> set[int]:
    raws = {offer(i): i for i in range(1, 101)}
    return {raws[raw] for raw in found(answer).offers}


def test_the_best_that_fit_come_drawn_by_lot_from_the_window() -> None:
    member = Side(201, WHOLE, [offer(i) for i in range(1, 101)])
    answer = member.candidates.answer(NOW, ASKER, pull(most=10, window=30))
    assert len(signers(answer)) == 10
    assert max(signers(answer)) <= 30
    assert found(answer).held == 100
    assert max(signers(answer)) > 10, "not the cheapest ten alone"
    assert signers(member.candidates.answer(NOW, ASKER, pull(most=64, window=5))) == {1, 2, 3, 4, 5}


def test_needs_are_met() -> None:
    member = Side(201, WHOLE, [offer(1), offer(2, engine="cuda")])
    answer = member.candidates.answer(NOW, ASKER, pull(needs=Needs(engine="cuda")))
    assert found(answer).offers == [offer(2, engine="cuda")]


def test_only_offers_of_the_shard_come_and_only_a_member_answers() -> None:
    home = Shard(1, 0)
    member = Side(201, home, [offer(i) for i in range(1, 41)])
    assert signers(member.candidates.answer(NOW, ASKER, pull(home))) == {
        i for i in range(1, 41) if shard_of(peer_of(i), 1) == home
    }
    assert member.candidates.answer(NOW, ASKER, pull(Shard(1, 1))) is None
    assert member.candidates.answer(NOW, ASKER, pull(WHOLE)) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"\x05",
        pull(most=65),
        pull(most=0),
        pull(window=1_025),
        pull(Shard(21, 0)),
        pull()[:-1],
        pull() + b"\0",
        b"\x05" + bytes(candidates.FRAME_BYTES_MAX),
    ],
)
def test_what_is_malformed_or_beyond_bounds_is_refused(frame: bytes) -> None:
    assert is_pull(frame)
    assert Side(201, WHOLE, [offer(1)]).candidates.answer(NOW, ASKER, frame) is None


def test_an_asker_has_a_budget() -> None:
    member = Side(201, WHOLE, [offer(1)])
    answers = [member.candidates.answer(NOW, ASKER, pull()) for _ in range(BURST // candidates.COST + 1)]
    assert answers[-1] is None
    assert None not in answers[:-1]


def test_three_are_asked_and_one_that_hides_hides_nothing_the_others_show() -> None:
    honest = [offer(i) for i in range(1, 11)]
    members = {side.me: side for side in (Side(201, WHOLE, honest), Side(202, WHOLE, honest), Side(203, WHOLE, []))}
    buyer = Side(210, None, [], list(members))
    asked = buyer.candidates.pull(NOW, JOB, Needs(), 16)
    over = []
    for effect in asked:
        assert isinstance(effect, Request)
        answer = members[effect.peer].candidates.answer(NOW, buyer.me, effect.frame)
        tag = buyer.post.answered(effect.request_id)
        assert tag is not None
        over.append(buyer.candidates.on_response(NOW, tag, Missed.CLOSED if answer is None else Ok(answer))[1])
    assert over == [False, False, True]
    assert {x.offer.raw for x in buyer.book.listings()} == set(honest)


@pytest.mark.parametrize(
    "outcome", [Ok(b"nonsense"), Ok(msgspec.msgpack.encode((1, [b"forged"] * 64))), Missed.TIMEOUT]
)
def test_what_is_no_answer_ends_the_wait_and_lists_nothing(outcome: Outcome) -> None:
    buyer = Side(210, None, [], [peer_of(1), peer_of(2), peer_of(3)])
    for effect in buyer.candidates.pull(NOW, JOB, Needs(), 16):
        assert isinstance(effect, Request)
        tag = buyer.post.answered(effect.request_id)
        assert tag is not None
        over = buyer.candidates.on_response(NOW, tag, outcome)[1]
    assert over
    assert len(buyer.book) == 0


def test_without_three_neighbours_of_the_shard_the_dht_is_asked() -> None:
    buyer = Side(210, None, [], [peer_of(1)])
    assert buyer.candidates.pull(NOW, JOB, Needs(), 16) == [Find(topic_of(NETWORK, WHOLE))]
    named = tuple((peer_of(i), ("/somewhere",)) for i in range(2, 20))
    asked, over = buyer.candidates.on_found(topic_of(NETWORK, WHOLE), named)
    assert over == []
    assert len({effect.peer for effect in asked if isinstance(effect, Request)}) == candidates.PEERS_ASKED


def test_with_nobody_to_ask_the_job_waits_no_longer() -> None:
    buyer = Side(210, None, [])
    buyer.candidates.pull(NOW, JOB, Needs(), 16)
    assert buyer.candidates.on_found("/another", ()) == ([], [])
    assert buyer.candidates.on_found(topic_of(NETWORK, WHOLE), ()) == ([], [JOB])


def test_more_is_pulled_at_first_and_after_every_fruitless_round_but_not_while_it_is_fresh() -> None:
    buyer = Side(210, None, [])
    due = buyer.candidates.is_due
    assert due(NOW, JOB, Needs(), 0)
    buyer.candidates.pull(NOW, JOB, Needs(), 16)
    assert not due(NOW, JOB, Needs(), 0)
    assert due(NOW, JOB, Needs(), 1)
    other = bytes([1] * 16)
    assert not due(NOW, other, Needs(), 0)
    assert due(NOW, other, Needs(engine="cuda"), 0)
    assert due(Now(candidates.FRESH_MS, NOW.wall_ms), other, Needs(), 0)
    assert not Side(211, WHOLE, []).candidates.is_due(NOW, JOB, Needs(), 5), "who has the whole book asks nobody"
