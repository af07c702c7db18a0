from __future__ import annotations

from p2pcompute.transport.allowance import (
    PAUSE_S_MAX,
    PEERS_MAX,
    STREAM_COST_BYTES,
    UNASKED_BYTES_BURST,
    UNASKED_BYTES_PER_S,
    Allowance,
    Allowances,
)
from p2pcompute.transport.yamux import HEADER, Yamux


def test_a_burst_passes_and_what_goes_beyond_is_slowed_to_the_rate() -> None:
    bucket = Allowance(0.0)
    assert bucket.spend(UNASKED_BYTES_BURST, 0.0) == 0
    assert bucket.spend(UNASKED_BYTES_PER_S // 4, 0.0) == 0.25
    assert bucket.spend(0, 0.25) == 0


def test_a_pause_is_bounded() -> None:
    assert Allowance(0.0).spend(100 * UNASKED_BYTES_BURST, 0.0) == PAUSE_S_MAX


def test_an_idle_peer_saves_up_no_more_than_a_burst() -> None:
    bucket = Allowance(0.0)
    assert bucket.spend(UNASKED_BYTES_BURST, 1e6) == 0
    assert bucket.spend(1, 1e6) > 0


def test_a_bucket_outlives_the_connection() -> None:
    buckets = Allowances()
    buckets.of(b"peer", 0.0).spend(2 * UNASKED_BYTES_BURST, 0.0)
    assert buckets.of(b"peer", 0.0).spend(0, 0.0) > 0


def test_buckets_are_bounded() -> None:
    buckets = Allowances()
    first = buckets.of(b"first", 0.0)
    for index in range(PEERS_MAX):
        buckets.of(index.to_bytes(4, "big"), 0.0)
    assert buckets.of(b"first", 0.0) is not first


def exchange(left: Yamux, right: Yamux) -> None:
    for mine, other in ((left, right), (right, left)):
        data, mine.out = bytes(mine.out), bytearray()
        other.receive(data)


def test_answers_on_streams_that_we_opened_cost_no_more_than_their_headers() -> None:
    us, them = Yamux(client=True), Yamux(client=False)
    us.open()
    exchange(us, them)
    us.unasked_bytes = 0
    them.backlog.popleft().send(bytes(10_000))
    exchange(us, them)
    assert us.unasked_bytes == HEADER.size


def test_a_stream_that_the_peer_opens_costs_its_price() -> None:
    us, them = Yamux(client=True), Yamux(client=False)
    us.open()
    exchange(us, them)
    assert them.unasked_bytes > STREAM_COST_BYTES
