"""The effect loop: what waits for the journal, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.runtime import SETTLED_S, Runtime
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.core import NEIGHBOURS_MIN
from p2pcompute.protocol.machine import (
    Effect,
    Emit,
    Finding,
    Inspect,
    InspectOutcome,
    Now,
    PeerInfo,
    Persist,
    Priority,
    Reply,
    Send,
    SendOutcome,
    SetTimer,
)
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire import merkle


class SlowTicket:
    def __init__(self) -> None:
        self.durable = trio.Event()

    async def wait(self) -> int:
        await self.durable.wait()
        return 1


class SlowCommitter:
    """A journal whose disk is as slow as the test wants."""

    def __init__(self) -> None:
        self.tickets: list[SlowTicket] = []

    def enqueue(self, record: bytes) -> SlowTicket:
        self.tickets.append(SlowTicket())
        return self.tickets[-1]


class ScriptedCore:
    """Answers every request with the effects the test gave."""

    def __init__(self, script: list[list[Effect]]) -> None:
        self.script, self.peers, self.timers = script, dict[bytes, object](), list[str]()

    def start(self, now: Now, journal: Any) -> list[Effect]:
        return []

    def on_request(self, now: Now, peer: bytes, request_id: int, frame: bytes) -> list[Effect]:
        return [Reply(request_id, e.frame) if isinstance(e, Reply) else e for e in self.script.pop(0)]

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        self.timers.append(key)
        return [Emit("timer", {"key": key})]


class InspectingCore:
    """Asks for an inspection, and remembers what came of it."""

    def __init__(self, effect: Inspect) -> None:
        self.effect, self.told = effect, list[tuple[str, Finding]]()
        self.peers = dict[bytes, object]()

    def start(self, now: Now, journal: Any) -> list[Effect]:
        return [self.effect]

    def on_inspected(self, now: Now, token: str, outcome: InspectOutcome) -> list[Effect]:
        self.told.append((token, outcome.finding))
        return [Emit("told", {})]


async def test_what_an_inspection_found_comes_back_to_the_core(tmp_path: Path) -> None:
    core = InspectingCore(Inspect("token", b"peer", b"no manifest", (), (), 1, 1_000))
    work = Workshop(BlobStore(tmp_path / "blobs", merkle.blob_root), Engines([]), BLOB_BYTES_PER_S)
    runtime, told = Runtime(SlowCommitter(), work), trio.Event()
    runtime.attach(core, FullTransport(set()))  # type: ignore[arg-type]
    runtime.listen(lambda event: told.set())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: runtime.run([], ready=lambda: None))
        await told.wait()
        nursery.cancel_scope.cancel()
    assert core.told == [("token", Finding.UNPROVEN)]


class FullTransport:
    """Drops what is for the peers it is told of."""

    def __init__(self, full: set[bytes]) -> None:
        self.full, self.taken = full, list[bytes]()

    def send(self, peer: bytes, channel: str, frame: bytes, priority: Priority) -> bool:
        if peer not in self.full:
            self.taken.append(peer)
        return peer not in self.full


class SendingCore:
    """Remembers what it is told of frames, and says something about it to everybody."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, SendOutcome]] = []

    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]:
        self.told.append((peer, outcome))
        return [Send((b"fast",), "c", b"slow is slow")]


def make_runtime(tmp_path: Path, script: list[list[Effect]]) -> tuple[Runtime, SlowCommitter, ScriptedCore]:
    (tmp_path / "blobs").mkdir()
    committer, core = SlowCommitter(), ScriptedCore(script)
    work = Workshop(BlobStore(tmp_path / "blobs", merkle.blob_root), Engines([]), BLOB_BYTES_PER_S)
    runtime = Runtime(committer, work)
    runtime.attach(core, None)  # type: ignore[arg-type]
    return runtime, committer, core


async def start(nursery: trio.Nursery, runtime: Runtime) -> None:
    ready = trio.Event()
    nursery.start_soon(lambda: runtime.run([], ready=ready.set))
    await ready.wait()


async def test_a_reply_waits_for_the_record_before_it_and_events_do_not(tmp_path: Path) -> None:
    script: list[list[Effect]] = [[Persist(b"r"), Reply(0, b"promise"), Emit("said", {})]]
    runtime, committer, _ = make_runtime(tmp_path, script)
    said: list[str] = []
    runtime.listen(lambda event: said.append(event.name))
    async with trio.open_nursery() as nursery:
        await start(nursery, runtime)
        answers: list[bytes | None] = []

        async def ask() -> None:
            answers.append(await runtime.on_request(b"p", "c", b"f"))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert said == ["said"]
        assert answers == []
        committer.tickets[0].durable.set()
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [b"promise"]
        nursery.cancel_scope.cancel()


async def test_a_later_reply_never_overtakes_an_earlier_record(tmp_path: Path) -> None:
    script: list[list[Effect]] = [[Persist(b"r"), Reply(0, b"first")], [Reply(0, b"second")]]
    runtime, committer, _ = make_runtime(tmp_path, script)
    async with trio.open_nursery() as nursery:
        await start(nursery, runtime)
        answers: list[bytes | None] = []

        async def ask() -> None:
            answers.append(await runtime.on_request(b"p", "c", b"f"))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        committer.tickets[0].durable.set()
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [b"first", b"second"]
        nursery.cancel_scope.cancel()


async def test_a_timer_that_is_moved_or_cleared_does_not_go_off(tmp_path: Path) -> None:
    runtime, _, core = make_runtime(tmp_path, [])
    went_off = trio.Event()
    runtime.listen(lambda event: went_off.set())
    async with trio.open_nursery() as nursery:
        await start(nursery, runtime)
        now = runtime.now().mono_ms
        runtime._do([SetTimer("cleared", now + 10), SetTimer("moved", now + 10), SetTimer("cleared", None)])
        runtime._do([SetTimer("moved", now + 10**9), SetTimer("kept", now + 30)])
        with trio.fail_after(5):
            await went_off.wait()
        assert core.timers == ["kept"]
        nursery.cancel_scope.cancel()


async def test_the_core_is_told_of_frames_that_were_dropped(tmp_path: Path) -> None:
    runtime, _, _ = make_runtime(tmp_path, [])
    core, transport = SendingCore(), FullTransport({b"slow"})
    runtime.attach(core, transport)  # type: ignore[arg-type]
    runtime._do([Send((b"slow", b"fast"), "c", b"frame")])
    assert core.told == [(b"slow", SendOutcome.DROPPED)]
    assert transport.taken == [b"fast", b"fast"]


class LearningCore(ScriptedCore):
    """Keeps who is connected, and takes records."""

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        if info.up:
            self.peers[info.peer] = info
        else:
            del self.peers[info.peer]
        return []

    def on_record(self, now: Now, peer: bytes, record: bytes) -> list[Effect]:
        return []


class LearningNetwork:
    """Transport and DHT: whose record was asked for, and how many peers the table has."""

    def __init__(self, known: int) -> None:
        self.known, self.asked = known, list[bytes]()

    def __len__(self) -> int:
        return self.known

    async def signed_record(self, peer: bytes) -> bytes:
        self.asked.append(peer)
        return b""

    def told(self, peer: bytes, addresses: tuple[str, ...]) -> bool:
        return True


@pytest.mark.parametrize(("known", "at_once"), [(NEIGHBOURS_MIN - 1, [b"a", b"b"]), (NEIGHBOURS_MIN, [])])
async def test_who_knows_enough_peers_asks_newcomers_only_when_they_stay(
    tmp_path: Path, autojump_clock: MockClock, known: int, at_once: list[bytes]
) -> None:
    runtime, _, _ = make_runtime(tmp_path, [])
    network = LearningNetwork(known)
    runtime.attach(LearningCore([]), network, network)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await start(nursery, runtime)
        for peer in (b"a", b"b"):
            runtime.on_peer(PeerInfo(peer, up=True))
        await trio.sleep(SETTLED_S / 2)
        assert sorted(network.asked) == at_once
        runtime.on_peer(PeerInfo(b"a", up=False))
        await trio.sleep(SETTLED_S)
        assert sorted(network.asked) == (at_once or [b"b"])
        nursery.cancel_scope.cancel()
