"""What was measured of py-libp2p 0.8.1 (docs/adr/0001, docs/adr/0008), and that no node of ours has it.

Each defect has a test here, or where the table says; the table itself is tested, so that none gets lost.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pcompute.transport import noise, yamux
from p2pcompute.transport.mux import STREAM_STALL_S, Stream
from tests.transport.harness import REQUEST, STREAM, Recorder, make, pair, running

ELSEWHERE = {
    "undecodable pubsub bytes, bad keys and bad messages end the host": (
        "tests.hostile.test_messages.test_a_source_of_false_gossip_is_disconnected",
    ),
    "a validator or stream handler that raises ends the host": (
        "tests.transport.test_libp2p.test_a_handler_that_raises_costs_its_stream_only",
        "tests.transport.test_libp2p.test_a_frame_handler_that_raises_loses_nothing_else",
    ),
    "a protocol name that is not UTF-8 ends the host": (
        "tests.transport.test_hazards.test_a_bad_stream_costs_the_stream_only",
    ),
    "after 250 inbound connections all others are refused": (
        "tests.transport.test_hazards.test_many_reconnections_are_all_served",
    ),
    "a cancelled write breaks the connection": (
        "tests.transport.test_libp2p.test_a_write_cancelled_half_way_resets_the_stream_and_nothing_else",
    ),
    "a stopped peer blocks writes and counts as connected for ever": (
        "tests.hostile.test_messages.test_a_stopped_neighbour_disturbs_nobody",
        "tests.hostile.test_messages.test_a_stopped_neighbour_is_given_up_and_comes_back",
        "tests.transport.test_libp2p.test_a_peer_that_falls_silent_is_noticed",
    ),
    "nobody reconnects after a peer restarts": (
        "tests.node.test_meeting_again.test_a_restarted_node_finds_the_mesh_without_a_bootstrap",
    ),
    "a failed swarm task or a closing guest ends our connection": (
        "tests.transport.test_guest.test_a_host_that_fails_is_replaced_and_connections_live_on",
        "tests.transport.test_guest.test_the_swarm_may_open_streams_but_not_close_our_connections",
    ),
    "gossip: ten messages a second from one forwarder, channels of 32 that drop unseen": (
        "tests.protocol.gossip.test_router.test_signatures_beyond_the_budget_are_not_checked",
        "tests.protocol.gossip.test_router.test_a_mesh_peer_that_missed_a_frame_is_told_at_the_next_heartbeat_what_it_held",
        "tests.transport.test_libp2p.test_frames_wait_for_a_slow_connection_and_low_ones_are_dropped_first",
    ),
    "gossip: a lost message waits two minutes for the heartbeat": (
        "tests.protocol.gossip.test_router.test_a_message_lost_on_every_link_is_repaired_by_ihave",
    ),
    "gossip: a negative weight scores the wrong way": (
        "tests.protocol.gossip.score.test_board.test_invalid_messages_count_by_the_square_and_at_once",
        "tests.protocol.gossip.score.test_board.test_a_mesh_peer_that_brings_too_little_is_punished_by_the_square",
    ),
    "gossip: sequence numbers restart": (
        "tests.protocol.gossip.test_checklist.test_sequence_numbers_grow_across_a_restart",
    ),
    "gossip: IDONTWANT for every message": (
        "tests.protocol.gossip.test_idontwant.test_a_small_message_is_not_announced",
    ),
    "gossip: a signed record is checked with every RPC": (
        "tests.protocol.gossip.test_checklist.test_an_rpc_costs_no_more_signature_checks_than_it_has_new_messages",
    ),
    "a window update with every read": ("tests.transport.test_yamux.test_small_reads_are_not_announced_one_by_one",),
    "windows are granted beyond their bound": (
        "tests.transport.test_yamux.test_the_window_of_a_stream_that_is_read_grows_up_to_its_limit",
        "tests.transport.test_yamux.test_grown_windows_are_bounded_over_all_streams",
    ),
    "one answer of the DHT freezes the process; what strangers say is kept without bound": (
        "tests.transport.test_routing.test_endless_closer_peers_end_a_search_at_its_bound",
        "tests.protocol.kademlia.test_messages.test_no_more_is_read_than_may_be_kept",
        "tests.protocol.kademlia.test_providers.test_a_flood_of_keys_pushes_out_its_own",
    ),
    "a dozen idle streams silence the DHT for everybody": (
        "tests.transport.test_routing.test_idle_streams_of_one_peer_silence_nobody",
    ),
    "a relay nobody asked may bring connections": ("tests.transport.test_relay.test_a_stranger_cannot_play_the_relay",),
}


@pytest.mark.parametrize("names", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_table_names_tests_that_are_there(names: tuple[str, ...]) -> None:
    for name in names:
        module, _, test = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), test))


async def test_a_handler_of_py_libp2p_that_raises_costs_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(stream: Any) -> None:
        raise ZeroDivisionError

    async with pair(libp2p_host=True) as (a, left, b, right):
        await b._guest._ready.wait()
        assert b._guest._host is not None
        b._guest._host.host.get_mux().handlers["/ipfs/ping/1.0.0"] = fail  # type: ignore[index]
        stream = await a.open_stream(b.peer, "/ipfs/ping/1.0.0")
        await stream.send_all(bytes(32))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"
        assert len(left.changes) == len(right.changes) == 1
        assert b._guest._host is not None
    assert "ZeroDivisionError" in caplog.text


async def test_py_libp2p_starts_nothing_of_its_own_on_a_new_connection() -> None:
    """Its outbound identify runs in trio system tasks, where an exception ends the whole run."""
    async with pair(libp2p_host=True) as (a, _, _, _):
        await a._guest._ready.wait()
        assert a._guest._host is not None
        assert a._guest._host._swarm.notifees == []


async def test_a_reader_that_pauses_for_ten_seconds_gets_everything(mock_clock: MockClock) -> None:
    """py-libp2p resets the stream after five."""
    pause, go_on = 10.0, trio.Event()
    assert pause < STREAM_STALL_S
    events = Recorder()

    async def read_late(peer: bytes, protocol: str, stream: Stream) -> None:
        await go_on.wait()
        size = 0
        while data := await stream.receive_some():
            size += len(data)
        await stream.send_all(str(size).encode())

    events.handle = read_late
    a, b = make(1, Recorder()), make(2, events)
    async with running(a, b, patience_s=float("inf")), trio.open_nursery() as nursery:
        await a.connect(b.addresses()[0])
        stream = await a.open_stream(b.peer, STREAM)

        async def send() -> None:
            await stream.send_all(bytes(1_000_000))
            await stream.send_eof()

        nursery.start_soon(send)
        await wait_all_tasks_blocked(0.05)
        for _ in range(5):
            mock_clock.jump(pause / 5)
            await wait_all_tasks_blocked(0.01)
        go_on.set()
        assert await stream.receive_some() == b"1000000"


def test_a_full_frame_fits_one_noise_message() -> None:
    assert yamux.FRAME_BYTES + yamux.HEADER.size == noise.PLAINTEXT_BYTES_MAX


async def test_a_dial_waits_for_the_peer_and_for_no_clock(mock_clock: MockClock) -> None:
    """py-libp2p sleeps 250 ms before it dials. This clock stands still."""
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b, patience_s=float("inf")):
        await a.connect(b.addresses()[0])
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"


async def test_a_writer_whose_window_is_empty_goes_on_as_soon_as_it_is_read(mock_clock: MockClock) -> None:
    """py-libp2p looks every 10 ms. This clock stands still, and 64 windows fit into the stream one after the other."""
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b, patience_s=float("inf")):
        await a.connect(b.addresses()[0])
        stream, size = await a.open_stream(b.peer, STREAM), 64 * yamux.WINDOW_BYTES
        await stream.send_all(bytes(size))
        await stream.send_eof()
        assert await stream.receive_some() == str(size).encode()
