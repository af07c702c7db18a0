"""Two whole transports over loopback."""

from __future__ import annotations

import subprocess
import sys
from math import inf

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pcompute.errors import LocalError, RemoteError, UsageError
from p2pcompute.identity.names import peer_id
from p2pcompute.protocol.machine import Priority
from p2pcompute.transport import libp2p, noise
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from tests.transport.harness import (
    CHANNEL,
    FRAME_BYTES_MAX,
    LOOPBACK,
    REQUEST,
    STREAM,
    Recorder,
    make,
    pair,
    raw_peer,
    running,
)


async def test_both_sides_are_told_of_the_connection() -> None:
    async with pair() as (a, left, b, right):
        assert [(info.peer, info.up, info.outbound) for info in left.changes] == [(b.peer, True, True)]
        assert [(info.peer, info.up, info.outbound) for info in right.changes] == [(a.peer, True, False)]


async def test_a_request_is_answered() -> None:
    async with pair() as (a, _, b, _):
        assert await a.request(b.peer, REQUEST, b"hello", timeout_s=5) == b"hello"
        assert await b.request(a.peer, REQUEST, bytes(FRAME_BYTES_MAX), timeout_s=5) == bytes(FRAME_BYTES_MAX)


async def test_an_empty_request_and_an_empty_answer_are_frames_too() -> None:
    async with pair() as (a, _, b, _):
        assert await a.request(b.peer, REQUEST, b"", timeout_s=5) == b""


async def test_frames_arrive_in_order_and_whole() -> None:
    frames = [bytes([index % 256]) * (index * 37 % 3_000) for index in range(500)]
    async with pair() as (a, _, b, right):
        for frame in frames:
            assert a.send(b.peer, CHANNEL, frame)
        await right.until(lambda: len(right.frames) == len(frames))
        assert right.frames == [(a.peer, frame) for frame in frames]


async def test_all_frames_of_a_channel_go_through_one_stream() -> None:
    async with pair() as (a, _, b, right):
        opened = 0
        for number in range(100):
            assert a.send(b.peer, CHANNEL, b"%d" % number)
            if number % 10 == 0:
                await right.until(lambda count=number: len(right.frames) > count)  # type: ignore[misc]
                opened = max(opened, len(b._inbound))
        await right.until(lambda: len(right.frames) == 100)
        connection = b.connection_to(a.peer)
        assert connection is not None
        assert opened == len(b._inbound) == len(connection.mux.streams) == 1


async def test_frames_wait_for_a_slow_connection_and_low_ones_are_dropped_first() -> None:
    async with pair() as (a, _, b, right):
        frame = bytes(FRAME_BYTES_MAX)
        low = high = 0
        while a.send(b.peer, CHANNEL, frame, Priority.LOW):
            low += 1
        while a.send(b.peer, CHANNEL, frame, Priority.NORMAL):
            high += 1
        assert high > 0
        await right.until(lambda: len(right.frames) == low + high)


async def test_a_large_stream_arrives_whole() -> None:
    async with pair() as (a, _, b, _):
        stream = await a.open_stream(b.peer, STREAM)
        for _ in range(64):
            await stream.send_all(bytes(256 * 1024))
        await stream.send_eof()
        assert await stream.receive_some() == str(16 * 1024 * 1024).encode()
        assert await stream.receive_some() == b""


async def test_requests_go_through_beside_a_stream_that_nobody_reads() -> None:
    async with pair() as (a, _, b, right):

        async def never_read(peer: bytes, protocol: str, stream: Stream) -> None:
            await trio.sleep_forever()

        right.handle = never_read
        stream = await a.open_stream(b.peer, STREAM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(8 << 20))
            await wait_all_tasks_blocked(0.01)
            assert await a.request(b.peer, REQUEST, b"still alive", timeout_s=5) == b"still alive"
            nursery.cancel_scope.cancel()


async def test_a_write_cancelled_half_way_resets_the_stream_and_nothing_else() -> None:
    async with pair() as (a, _, b, right):
        ends: list[BaseException] = []
        ended = trio.Event()

        async def wait(peer: bytes, protocol: str, stream: Stream) -> None:
            try:
                await stream.wait_closed()
                await stream.receive_some()
            except trio.BrokenResourceError as error:
                ends.append(error)
            ended.set()

        right.handle = wait
        stream = await a.open_stream(b.peer, STREAM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(8 << 20))
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        await ended.wait()
        assert len(ends) == 1
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"


async def test_a_request_without_an_answer_times_out() -> None:
    async with pair() as (a, _, b, right):

        async def silence(peer: bytes, channel: str, frame: bytes) -> bytes | None:
            await trio.sleep_forever()
            raise AssertionError

        right.answer = silence
        with pytest.raises(trio.TooSlowError):
            await a.request(b.peer, REQUEST, b"x", timeout_s=0.01)


async def test_a_request_that_is_declined_raises_a_remote_error() -> None:
    async with pair() as (a, _, b, right):

        async def decline(peer: bytes, channel: str, frame: bytes) -> bytes | None:
            return None

        right.answer = decline
        with pytest.raises(RemoteError, match="did not answer"):
            await a.request(b.peer, REQUEST, b"x", timeout_s=5)


async def test_a_handler_that_raises_costs_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (a, left, b, right):

        async def bug(*arguments: object) -> None:
            raise ZeroDivisionError

        echo, right.answer, right.handle = right.answer, bug, bug
        with pytest.raises(RemoteError):
            await a.request(b.peer, REQUEST, b"x", timeout_s=5)
        stream = await a.open_stream(b.peer, STREAM)
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        right.answer = echo
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"
        assert len(left.changes) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_a_frame_handler_that_raises_loses_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (a, _, b, right):

        def bug(frame: bytes) -> None:
            if frame == b"bad":
                raise ZeroDivisionError

        right.on_frame_hook = bug
        for frame in (b"one", b"bad", b"two"):
            a.send(b.peer, CHANNEL, frame)
        await right.until(lambda: len(right.frames) == 2)
        assert [frame for _, frame in right.frames] == [b"one", b"two"]


async def test_a_frame_may_be_sent_from_within_a_handler() -> None:
    async with pair() as (a, left, b, right):
        right.on_frame_hook = lambda frame: b.send(a.peer, CHANNEL, frame + b" back") and None
        a.send(b.peer, CHANNEL, b"there")
        await left.until(lambda: bool(left.frames))
        assert left.frames == [(b.peer, b"there back")]


async def test_a_peer_that_stops_is_noticed_by_the_other() -> None:
    left, right = Recorder(), Recorder()
    a, b = make(1, left), make(2, right)
    async with running(a):
        async with running(b):
            await a.connect(b.addresses()[0])
        await left.until(lambda: not left.up())
        assert not a.send(b.peer, CHANNEL, b"x")
        with pytest.raises(RemoteError, match="not connected"):
            await a.request(b.peer, REQUEST, b"x", timeout_s=5)


async def test_a_peer_that_falls_silent_is_noticed(mock_clock: MockClock) -> None:
    events = Recorder()
    a = make(1, events)
    async with running(a, patience_s=inf):
        silent = await raw_peer(a)
        await events.until(lambda: bool(events.up()))
        for _ in range(20):
            mock_clock.jump(libp2p.WATCH_S)
            await wait_all_tasks_blocked(0.001)
        assert not events.up()
        await trio.aclose_forcefully(silent.socket)


async def test_two_idle_peers_stay_connected(mock_clock: MockClock) -> None:
    left, right = Recorder(), Recorder()
    a, b = make(1, left), make(2, right)
    async with running(a, b, patience_s=inf):
        await a.connect(b.addresses()[0])
        for _ in range(20):
            mock_clock.jump(libp2p.WATCH_S)
            await wait_all_tasks_blocked(0.005)
        assert len(left.changes) == len(right.changes) == 1


async def test_a_killed_process_is_noticed() -> None:
    events = Recorder()
    a = make(1, events)
    async with running(a):
        code = f"import trio; from tests.transport.harness import stay; trio.run(stay, {a.addresses()[0]!r})"
        process = await trio.lowlevel.open_process([sys.executable, "-c", code])
        await events.until(lambda: bool(events.up()))
        process.kill()
        await events.until(lambda: not events.up())
        await process.wait()


@pytest.mark.parametrize("attempt", range(5))
async def test_peers_that_dial_each_other_at_once_keep_the_same_connection(attempt: int) -> None:
    left, right = Recorder(), Recorder()
    a, b = make(1, left), make(2, right)
    async with running(a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.connect, b.addresses()[0])
            nursery.start_soon(b.connect, a.addresses()[0])
        for _ in range(20):
            assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"
            assert await b.request(a.peer, REQUEST, b"y", timeout_s=5) == b"y"
        for transport, other in ((a, b), (b, a)):
            peer = transport._peers.get(other.peer)
            assert peer is not None
            assert sum(connection.takes_streams for connection in peer.connections) == 1
        assert len(left.changes) == len(right.changes) == 1


async def test_connecting_twice_makes_one_connection() -> None:
    left, right = Recorder(), Recorder()
    a, b = make(1, left), make(2, right)
    async with running(a, b):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(a.connect, b.addresses()[0])
        peer = a._peers.get(b.peer)
        assert peer is not None
        assert len(peer.connections) == 1


async def test_disconnecting_is_told_and_a_new_connection_may_follow() -> None:
    async with pair() as (a, left, b, right):
        await a.disconnect(b.peer)
        await left.until(lambda: not left.up())
        await right.until(lambda: not right.up())
        await a.connect(b.addresses()[0])
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"


async def test_a_port_in_use_is_named() -> None:
    async with pair() as (a, _, _, _):
        address = a.addresses()[0].partition("/p2p/")[0]
        port = address.split("/")[4]
        other = make(3, Recorder(), listen=address)
        with pytest.raises(LocalError, match=f"(?i)port {port} is in use"):
            await other.run()


async def test_nobody_at_the_address_is_a_remote_error() -> None:
    async with pair() as (_, _, b, _):
        pass
    c = make(3, Recorder())
    async with running(c):
        with pytest.raises(RemoteError, match="Nobody answers"):
            await c.connect(b.addresses()[0])


async def test_another_peer_at_the_address_is_refused() -> None:
    async with pair() as (a, left, b, _):
        wrong = b.addresses()[0].partition("/p2p/")[0] + "/p2p/" + peer_id(bytes(32))
        with pytest.raises(RemoteError, match="The peer at this address is"):
            await a.connect(wrong)
        assert left.up() == {b.peer}


async def test_our_own_address_is_refused() -> None:
    async with pair() as (a, left, _, _):
        for address in (a.addresses()[0], a.addresses()[0].partition("/p2p/")[0]):
            with pytest.raises(LocalError, match="own address"):
                await a.connect(address)
        assert len(left.changes) == 1


async def test_a_bad_address_is_a_usage_error() -> None:
    async with pair() as (a, _, _, _):
        with pytest.raises(UsageError):
            await a.connect("localhost:9000")


async def test_a_peer_that_does_not_speak_the_channel_gets_no_frames() -> None:
    left, right = Recorder(), Recorder()
    a = make(1, left)
    b = Libp2pTransport(b"\x02" * 32, listen=[LOOPBACK], events=right, requests={REQUEST: 100}, libp2p_host=False)
    async with running(a, b):
        await a.connect(b.addresses()[0])
        while a.send(b.peer, CHANNEL, b"x"):  # the refusal is on its way
            assert await a.request(b.peer, REQUEST, b"y", timeout_s=5) == b"y"
        with pytest.raises(trio.BrokenResourceError, match="does not speak"):
            await (await a.open_stream(b.peer, STREAM)).receive_some()


async def test_a_request_that_is_too_long_is_refused() -> None:
    left, right = Recorder(), Recorder()
    a = make(1, left)
    b = Libp2pTransport(b"\x02" * 32, listen=[LOOPBACK], events=right, requests={REQUEST: 100}, libp2p_host=False)
    async with running(a, b):
        await a.connect(b.addresses()[0])
        with pytest.raises(RemoteError):
            await a.request(b.peer, REQUEST, bytes(101), timeout_s=5)
        assert await a.request(b.peer, REQUEST, bytes(100), timeout_s=5) == bytes(100)


async def test_nothing_is_left_of_finished_streams() -> None:
    async with pair() as (a, _, b, _):
        for _ in range(300):
            await a.request(b.peer, REQUEST, b"x", timeout_s=5)
        await wait_all_tasks_blocked(0.01)
        for transport, other in ((a, b), (b, a)):
            peer = transport._peers.get(other.peer)
            assert peer is not None
            assert not peer.connections[0].mux.streams


async def test_a_request_given_up_cancels_its_handler() -> None:
    async with pair() as (a, _, b, right):
        cancelled = trio.Event()

        async def wait(peer: bytes, channel: str, frame: bytes) -> bytes | None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()
            raise AssertionError

        right.answer = wait
        with pytest.raises(trio.TooSlowError):
            await a.request(b.peer, REQUEST, b"x", timeout_s=0.05)
        await cancelled.wait()


async def test_more_requests_than_a_peer_works_on_wait_for_their_turn() -> None:
    async with pair() as (a, _, b, _):
        answers: list[bytes] = []

        async def ask(index: int) -> None:
            answers.append(await a.request(b.peer, REQUEST, b"%d" % index, timeout_s=10))

        async with trio.open_nursery() as nursery:
            for index in range(1_000):
                nursery.start_soon(ask, index)
        assert sorted(answers) == sorted(b"%d" % index for index in range(1_000))


async def test_a_peer_that_does_not_read_what_it_must_is_disconnected() -> None:
    events = Recorder()
    a = make(1, events)
    async with running(a):
        mute = await raw_peer(a)
        await events.until(lambda: bool(events.up()))
        while a.send(noise.signer(bytes([99]) * 32)[0], CHANNEL, bytes(FRAME_BYTES_MAX), Priority.HIGH):
            pass
        await events.until(lambda: not events.up())
        await trio.aclose_forcefully(mute.socket)


def test_importing_the_transport_does_not_import_py_libp2p() -> None:
    code = "import sys, p2pcompute.transport.libp2p; sys.exit('libp2p' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
