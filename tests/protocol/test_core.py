"""The border: what of a peer's bytes reaches the machines, and what a peer does by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.protocol import budget, core, reputation
from p2pcompute.protocol.commands import Pause, Publish, Withdraw
from p2pcompute.protocol.gossip import Thresholds
from p2pcompute.protocol.machine import Connect, Emit, Ok, PeerInfo, Reply, Request, Ruling, SetTimer
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from tests.protocol.stage import MANIFEST, NETWORK, WALL_MS, Actor, Stage, key_of, terms

PEER = key_of("peer")
CANCEL = d.Cancel()


def letter(body: object, *, at: int = 0, lifetime_ms: int = 1_000, network: str = NETWORK) -> bytes:
    author = d.Author(network, PEER.public, bytes(8), PEER.sign)
    return author.write(WALL_MS + at, body, lifetime_ms=lifetime_ms).raw  # type: ignore[arg-type]


def provider() -> tuple[Stage, Actor]:
    stage = Stage()
    return stage, stage.providers(1)[0]


PROBE = d.Probe(b"", "cpu", MANIFEST.memory_bytes_max, 1_000, 1_000)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"junk",
        letter(PROBE)[:-1] + b"?",
        letter(PROBE, network="elsewhere"),
        letter(PROBE, at=-5_000),
        letter(PROBE, at=limits.CLOCK_SKEW_MS_MAX + 1),
        letter(terms(), lifetime_ms=600_000),
        letter(d.Quote(bytes(32), 1, 1, 1)),
    ],
    ids=["empty", "junk", "forged", "network", "expired", "future", "offer", "answer"],
)
def test_what_is_no_request_in_force_is_refused(frame: bytes) -> None:
    stage, p = provider()
    out = p.core.on_request(stage.now, PEER.public, 5, frame)
    assert out[-1] == Reply(5, None)
    assert all(isinstance(e, Emit) for e in out[:-1])


def test_a_letter_carried_by_another_than_its_signer_is_refused() -> None:
    stage, p = provider()
    assert p.core.on_request(stage.now, key_of("thief").public, 5, letter(PROBE)) == [Reply(5, None)]
    assert p.core.on_request(stage.now, PEER.public, 6, letter(PROBE))[0] != Reply(6, None)


@settings(max_examples=200)
@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda t: letter(PROBE)[:40] + t))
def test_no_bytes_of_a_peer_raise(frame: bytes) -> None:
    stage, p = provider_once()
    (*_, reply) = p.core.on_request(stage.now, PEER.public, 5, frame)
    assert isinstance(reply, Reply)
    p.core.judge_gossip(stage.now, core.offers_topic(NETWORK), frame, PEER.public)
    pull = next(e for e in p.core.on_peer(stage.now, dialled(PEER.public)) if isinstance(e, Request))
    p.core.on_response(stage.now, pull.request_id, Ok(frame))
    p.core.on_peer(stage.now, PeerInfo(PEER.public, False))


def dialled(peer: bytes) -> PeerInfo:
    return PeerInfo(peer, True, outbound=True)


_once: list[tuple[Stage, Actor]] = []


def provider_once() -> tuple[Stage, Actor]:
    if not _once:
        _once.append(provider())
    _once[0][0].mono_ms += 1_000
    return _once[0]


def test_a_flood_is_refused_before_any_signature_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "BURST", 2)
    stage, p = provider()
    outs = [p.core.on_request(stage.now, PEER.public, i, letter(PROBE)) for i in range(3)]
    assert [out == [Reply(i, None)] for i, out in enumerate(outs)] == [False, False, True]


def test_a_response_nobody_waits_for_is_dropped() -> None:
    stage, p = provider()
    assert p.core.on_response(stage.now, 10**6, Ok(b"")) == []


def test_gossip_of_another_topic_is_ignored() -> None:
    stage, p = provider()
    assert p.core.judge_gossip(stage.now, "/elsewhere", letter(CANCEL), PEER.public) is Ruling.IGNORE


def test_accepted_gossip_is_in_the_book_and_told_once() -> None:
    stage, p = provider()
    raw = letter(terms(), lifetime_ms=600_000)
    topic = core.offers_topic(NETWORK)
    assert p.core.judge_gossip(stage.now, topic, raw, PEER.public) is Ruling.ACCEPT
    assert [e.name for e in p.core.deliver_gossip(stage.now, topic, raw, PEER.public)] == ["offer.new"]  # type: ignore[union-attr]
    assert p.core.deliver_gossip(stage.now, topic, raw, PEER.public) == []
    assert p.core.book.get(PEER.public) is not None


def timers(effects: list[object]) -> dict[str, int | None]:
    return {e.key: e.at_mono_ms for e in effects if isinstance(e, SetTimer)}


def test_an_offer_is_renewed_until_it_is_withdrawn() -> None:
    stage, p = provider()
    first = p.core.book.get(p.peer)
    stage.mono_ms += core.OFFER_RENEW_MS
    out = p.core.on_timer(stage.now, "core.offer")
    renewed = p.core.book.get(p.peer)
    assert first is not None
    assert renewed is not None
    assert renewed.offer.id != first.offer.id
    assert timers(list(out)) == {"core.offer": stage.mono_ms + core.OFFER_RENEW_MS}
    out = p.core.on_command(stage.now, Withdraw())
    assert timers(list(out)) == {"core.offer": None}
    assert p.core.book.get(p.peer) is None


def test_a_draining_provider_is_not_published_again() -> None:
    stage, p = provider()
    p.core.on_command(stage.now, Withdraw(drain=True))
    assert p.core.on_command(stage.now, Publish(terms())) == []
    assert p.core.book.get(p.peer) is None


def test_a_paused_provider_has_no_offer_until_it_resumes() -> None:
    stage, p = provider()
    p.core.on_command(stage.now, Pause(True))
    assert p.core.book.get(p.peer) is None
    assert p.core.on_timer(stage.now, "core.offer") == []
    assert p.core.on_command(stage.now, Publish(terms(mflops=7))) == []
    p.core.on_command(stage.now, Pause(False))
    listing = p.core.book.get(p.peer)
    assert listing is not None
    assert listing.offer.body.mflops == 7


@pytest.mark.parametrize("drain", [False, True])
def test_an_offer_that_was_withdrawn_does_not_come_back_with_the_end_of_a_pause(drain: bool) -> None:
    stage, p = provider()
    p.core.on_command(stage.now, Pause(True))
    p.core.on_command(stage.now, Withdraw(drain=drain))
    assert p.core.on_command(stage.now, Pause(False)) == []
    assert p.core.book.get(p.peer) is None
    assert p.core.provider.closed is drain


def test_a_lonely_peer_dials_providers_from_its_book(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    stage.providers(5)
    lonely = stage.actor("lonely")
    stage.introduce()
    dialled = [e.peer for e in lonely.core.on_timer(stage.now, "core.neighbours") if isinstance(e, Connect)]
    assert len(set(dialled)) == core.DIALS_AT_ONCE
    assert lonely.peer not in dialled
    monkeypatch.setattr(core, "NEIGHBOURS_MIN", 1)
    lonely.core.on_peer(stage.now, PeerInfo(PEER.public, True))
    assert not any(isinstance(e, Connect) for e in lonely.core.on_timer(stage.now, "core.neighbours"))


class Scored:
    """A gossip machine of which only the scores matter."""

    def __init__(self, scores: dict[bytes, float]) -> None:
        self._scores = scores

    def score(self, peer: bytes) -> float:
        return self._scores.get(peer, 0.0)


def test_a_connection_is_worth_work_then_an_offer_then_good_gossip() -> None:
    stage = Stage()
    seller, buyer = stage.providers(1)[0], stage.actor("buyer")
    stage.introduce()
    good, bad, worst = (key_of(name).public for name in ("good", "bad", "worst"))
    buyer.core._gossip = Scored({good: 15.0, bad: -15.0, worst: -1_000.0, seller.peer: -1_000.0})  # type: ignore[assignment]
    worth = buyer.core.usefulness([good, bad, worst, seller.peer, key_of("stranger").public])
    assert worth == {good: 0.5, bad: -0.5, worst: -1.0, seller.peer: 0.0, key_of("stranger").public: 0.0}


def test_own_dealings_are_a_part_of_the_gossip_score() -> None:
    stage = Stage()
    seller, buyer = stage.providers(1)[0], stage.actor("buyer")
    stage.introduce()
    listing = buyer.core.book.get(seller.peer)
    assert listing is not None
    assert buyer.core.opinion(seller.peer) == 0.0
    for _ in range(3):
        buyer.core.reputation.slow(listing.operator, 0)
    assert buyer.core.opinion(seller.peer) == -3.0
    for _ in range(2 * core.DEMERITS_SCORE_MAX):
        buyer.core.reputation.slow(listing.operator, 0)
    assert buyer.core.opinion(seller.peer) == -core.DEMERITS_SCORE_MAX
    buyer.core.reputation.ban(listing.operator, "wrong")
    assert buyer.core.opinion(seller.peer) < Thresholds().graylist


def test_demerits_fade_while_a_peer_runs() -> None:
    stage = Stage()
    actor = stage.actor("a")
    actor.core.reputation.slow(b"o", stage.mono_ms)
    stage.run(for_ms=reputation.HALF_LIFE_MS - 10_000)
    assert actor.core.reputation.demerits(b"o") == 1
    stage.run(for_ms=20_000)
    assert actor.core.reputation.demerits(b"o") == 0
