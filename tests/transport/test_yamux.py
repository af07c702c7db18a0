"""Two yamux machines pumped in memory; flow control, limits, and what a hostile peer may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.transport.yamux import HEADER, WINDOW_BYTES, Flag, Kind, Limits, Stream, Yamux, YamuxError


def header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    return HEADER.pack(0, kind, flags, stream_id, length)


def pump(left: Yamux, right: Yamux) -> None:
    """Carry what each has to say to the other until both are silent."""
    while left.out or right.out:
        for source, target in ((left, right), (right, left)):
            data, source.out = bytes(source.out), bytearray()
            target.receive(data)


def connected() -> tuple[Yamux, Yamux, Stream, Stream]:
    client, server = Yamux(client=True), Yamux(client=False)
    ours = client.open()
    pump(client, server)
    return client, server, ours, server.backlog.popleft()


def test_data_arrives_in_order() -> None:
    client, server, ours, theirs = connected()
    ours.send(b"one ")
    ours.send(b"two")
    pump(client, server)
    assert theirs.take() == b"one two"


def test_a_sender_stops_at_the_window_and_goes_on_when_it_is_read() -> None:
    client, server, ours, theirs = connected()
    assert ours.send(bytes(WINDOW_BYTES + 100)) == WINDOW_BYTES
    assert ours.send(b"x") == 0
    pump(client, server)
    theirs.take()
    pump(client, server)
    assert ours.send(b"x") == 1


def test_small_reads_are_not_announced_one_by_one() -> None:
    client, server, ours, theirs = connected()
    updates = 0
    for _ in range(50 * WINDOW_BYTES // 1_000):
        ours.send(bytes(1_000))
        pump(client, server)
        theirs.take()
        updates += len(server.out) // HEADER.size
        pump(client, server)
    assert 0 < updates <= 50 * WINDOW_BYTES // (WINDOW_BYTES // 2)


def test_the_window_of_a_stream_that_is_read_grows_up_to_its_limit() -> None:
    client, server, ours, theirs = connected()
    for _ in range(100):
        ours.send(bytes(1 << 20))
        pump(client, server)
        theirs.take()
        pump(client, server)
    assert ours.send_window == server.limits.window_bytes_max


def test_grown_windows_are_bounded_over_all_streams() -> None:
    limits = Limits(window_bytes_total=3 * WINDOW_BYTES)
    client, server = Yamux(client=True), Yamux(client=False, limits=limits)
    for _ in range(8):
        ours = client.open()
        pump(client, server)
        theirs = server.backlog.popleft()
        for _ in range(20):
            ours.send(bytes(1 << 20))
            pump(client, server)
            theirs.take()
            pump(client, server)
    assert server.grown_bytes <= limits.window_bytes_total


def test_closing_a_stream_gives_its_grown_window_back() -> None:
    client, server, ours, theirs = connected()
    for _ in range(20):
        ours.send(bytes(1 << 20))
        pump(client, server)
        theirs.take()
        pump(client, server)
    assert server.grown_bytes > 0
    theirs.abort()
    assert server.grown_bytes == 0


def test_sending_beyond_the_window_ends_the_connection() -> None:
    _, server, _, _ = connected()
    with pytest.raises(YamuxError, match="window"):
        server.receive(header(Kind.DATA, 0, 1, WINDOW_BYTES) + bytes(WINDOW_BYTES) + header(Kind.DATA, 0, 1, 1))


def test_an_ended_stream_still_receives() -> None:
    client, server, ours, theirs = connected()
    ours.end()
    pump(client, server)
    assert theirs.received_end
    theirs.send(b"answer")
    theirs.end()
    pump(client, server)
    assert ours.take() == b"answer"
    assert not client.streams
    assert not server.streams


def test_a_reset_reaches_the_other_side() -> None:
    client, server, ours, theirs = connected()
    ours.abort()
    pump(client, server)
    assert theirs.reset
    assert not server.streams


def test_a_fin_on_a_data_frame_takes_effect_after_the_data() -> None:
    _, server, _, theirs = connected()
    server.receive(header(Kind.DATA, Flag.FIN, 1, 3) + b"en")
    assert not theirs.received_end
    server.receive(b"d")
    assert theirs.received_end
    assert theirs.take() == b"end"


def test_streams_beyond_the_limit_are_reset() -> None:
    server = Yamux(client=False, limits=Limits(streams_max=3))
    for stream_id in range(1, 11, 2):
        server.receive(header(Kind.WINDOW, Flag.SYN, stream_id, 0))
    assert len(server.streams) == 3
    assert bytes(server.out).endswith(header(Kind.WINDOW, Flag.RST, 9, 0))


def test_unread_bytes_beyond_the_limit_reset_the_stream() -> None:
    server = Yamux(client=False, limits=Limits(unread_bytes_max=150_000))
    for stream_id in (1, 3):
        server.receive(header(Kind.DATA, Flag.SYN, stream_id, 100_000) + bytes(100_000))
    first, second = server.backlog
    assert (first.reset, second.reset) == (False, True)


def test_what_nobody_read_of_an_ended_stream_counts_until_it_is_discarded() -> None:
    client, server, ours, theirs = connected()
    ours.send(b"nobody reads this")
    ours.end()
    pump(client, server)
    theirs.end()
    assert server.unread_bytes == 17
    theirs.discard()
    assert server.unread_bytes == 0


def test_data_that_comes_a_byte_at_a_time_is_kept_in_few_pieces() -> None:
    _, server, ours, theirs = connected()
    server.receive((header(Kind.DATA, 0, ours.id, 1) + b"x") * 10_000)
    assert len(theirs.received) < 20
    assert theirs.take() == b"x" * 10_000


def test_a_flood_of_pings_in_one_read_ends_the_connection() -> None:
    server = Yamux(client=False)
    with pytest.raises(YamuxError, match="floods"):
        server.receive(header(Kind.PING, Flag.SYN, 0, 7) * 5_000)


def test_pings_whose_answers_are_not_read_end_the_connection() -> None:
    server = Yamux(client=False)
    flood = header(Kind.PING, Flag.SYN, 0, 7) * 1_000
    for _ in range(server.limits.out_bytes_max // len(flood)):
        server.receive(flood)
    with pytest.raises(YamuxError, match="floods"):
        server.receive(flood)
    assert len(server.out) <= server.limits.out_bytes_max + HEADER.size


def test_a_ping_is_answered_with_its_own_token() -> None:
    server = Yamux(client=False)
    server.receive(header(Kind.PING, Flag.SYN, 0, 77))
    assert bytes(server.out) == header(Kind.PING, Flag.ACK, 0, 77)


def test_our_own_unanswered_pings_are_bounded() -> None:
    client = Yamux(client=True)
    for _ in range(100):
        client.ping()
    assert len(client.out) == client.limits.pings_max * HEADER.size


def test_going_away_refuses_new_streams_but_keeps_open_ones() -> None:
    client, server, ours, theirs = connected()
    server.go_away()
    pump(client, server)
    with pytest.raises(YamuxError, match="no more streams"):
        client.open()
    ours.send(b"still here")
    pump(client, server)
    assert theirs.take() == b"still here"


@pytest.mark.parametrize("stream_id", [0, 2, 1])
def test_a_stream_number_that_is_not_free_ends_the_connection(stream_id: int) -> None:
    _, server, _, _ = connected()
    with pytest.raises(YamuxError, match="not free"):
        server.receive(header(Kind.WINDOW, Flag.SYN, stream_id, 0))


def test_a_sink_that_raises_costs_its_stream_only() -> None:
    client, server, ours, theirs = connected()

    def refuse(data: bytes) -> None:
        raise ValueError

    theirs.sink = refuse
    ours.send(b"anything")
    pump(client, server)
    assert ours.reset
    second = client.open()
    second.send(b"next")
    pump(client, server)
    assert server.backlog.popleft().take() == b"next"


def test_lost_resets_every_stream() -> None:
    client, _, ours, _ = connected()
    client.lost()
    assert ours.reset


FRAME = st.builds(
    lambda kind, flags, stream_id, length, body: header(kind, flags, stream_id, length) + body,
    st.integers(0, 5),
    st.integers(0, 31),
    st.sampled_from([0, 1, 2, 3, 5, 7, 0xFFFF_FFFF]),
    st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)),
    st.binary(max_size=40),
)


@given(st.lists(st.tuples(st.one_of(FRAME, st.binary(max_size=60)), st.integers(0, 4)), max_size=40))
def test_whatever_comes_in_raises_only_yamux_error(steps: list[tuple[bytes, int]]) -> None:
    mux = Yamux(client=False)
    accepted: list[Stream] = []
    try:
        for data, action in steps:
            mux.receive(data)
            while mux.backlog:
                accepted.append(mux.backlog.popleft())
            for stream in accepted:
                if action == 1:
                    stream.take(3)
                elif action == 2:
                    stream.abort()
                elif action == 3 and stream.is_writable:
                    stream.send(b"reply")
                elif action == 4:
                    stream.end()
    except YamuxError:
        pass
    assert mux.unread_bytes == sum(stream.received_bytes for stream in mux.streams.values()) + sum(
        stream.received_bytes for stream in accepted if stream.id not in mux.streams
    )
