"""The wheel driver: one simulated peer whose effects are run by callbacks, in the order that node.runtime keeps."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import (
    CancelJob,
    Compare,
    Connect,
    Disconnect,
    Effect,
    Emit,
    Fetch,
    Find,
    Grant,
    Inspect,
    InspectOutcome,
    JobOutcome,
    Locate,
    Missed,
    Ordered,
    Outcome,
    PeerInfo,
    Persist,
    Redeem,
    Reply,
    Request,
    RunJob,
    Send,
    SendOutcome,
    Serve,
    SetTimer,
)
from simnet.disk import CrashState
from simnet.network import Providers
from simnet.site import Site
from simnet.wheel import Phase

REDIAL_MS: Final = 1_000
JOB: Final = 6
LOCATING_MS: Final = 200
"""For asking for a few leaves, one after the other."""
PAYING_MS: Final = 300
"""For an operator's command."""


class Node(Site):
    """A peer on the wheel. Every callback that outlives a moment checks that its life is still the one that made it."""

    _life = 0
    runs = 0
    paused = False

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, commands: Sequence[Command] = ()) -> None:
        """Boot: replay the journal, do what the owner wants, and join."""
        self.up = True
        self._life += 1
        self._timers: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._wakes_ms = self._request_id = 0
        self._ordered: deque[tuple[Ordered, int]] = deque()
        self._awake: list[Callable[[PeerCore], list[Effect]]] = []
        """What was waited for and has come; `_soon`: what was asked just now and needs no time."""
        self._soon: list[Callable[[PeerCore], list[Effect]]] = []
        self._last_record = -1
        self._replies: dict[int, Callable[[bytes | None], None]] = {}
        self._running: dict[str, int] = {}
        self._dialling: dict[bytes, list[Callable[[bool], None]]] = {}
        self._held: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._busy = self._timer_moved = False
        self.core = self.make_core()
        journal = self.disk.mount(self._pump)
        self._now(self.core.start(self.now, journal))
        for command in commands:
            self._now(self.core.on_command(self.now, command))
        for peer in self.bootstrap:
            self._seek(peer, self._life)
        self._pump()

    def crash(self, state: CrashState = CrashState.CLEAN) -> None:
        """Power off: what is left is the disk, in this state, and the blobs."""
        self._life += 1
        self.paused = False
        self.forget()
        self.disk.crash(state)
        self.network.cut(self)
        self.emit(Emit("node.crashed", {"disk": str(state)}))

    def pause(self) -> None:
        """Stand still, as a stopped process does: what comes in waits, no timer goes off."""
        self.paused = self.up

    def resume(self) -> None:
        """Go on: first what waited, in the order in which it came."""
        self.paused = False
        held, self._held = self._held, []
        for call, arguments in held:
            call(*arguments)

    def _seek(self, peer: bytes, life: int) -> None:
        """Dial somebody we know until it works, as a real node does: it may be down at the moment."""

        def again(up: bool) -> None:
            if not up and self._lives(life):
                self._seek_later(peer)

        if self._lives(life) and peer not in self.lines:
            self.network.connect(self, peer, again)

    def _seek_later(self, peer: bytes) -> None:
        key = 5, self.index, self.network.nodes[peer].index, 0
        at_ms = self.network.wheel.now_ms + REDIAL_MS
        self.network.wheel.at(at_ms, Phase.LIFE, key, self._seek, peer, self._life)

    def _lives(self, life: int) -> bool:
        return self.up and self._life == life

    # -- inputs ------------------------------------------------------------------------------------------------------

    def command(self, command: Command) -> None:
        """The owner's wish."""
        if self.core is not None:
            self._do(self.core.on_command(self.now, command))

    def on_peer(self, info: PeerInfo) -> None:
        if self.paused:
            self._held.append((self.on_peer, (info,)))
        elif self.core is not None:
            self.emit(Emit("peer.up" if info.up else "peer.down", {"peer": info.peer, "address": info.address}))
            self._do(self.core.on_peer(self.now, info))
            if not info.up and info.peer in self.bootstrap:
                self._seek_later(info.peer)
            elif info.up:
                self.network.identify(self, info.peer, lambda record: self._on_record(info.peer, record))

    def on_lost(self, info: PeerInfo | None, unanswered: list[Callable[[Outcome], None]]) -> None:
        """Tasks that wait for one connection wake together: each takes its answer before what any of them sets in
        motion."""
        if self.paused or self._busy or self.core is None:
            super().on_lost(info, unanswered)
            return
        self._busy = True
        waiting, self._soon = self._soon, self._awake
        super().on_lost(info, unanswered)
        self._soon, self._busy = waiting, False
        self._pump()

    def _on_record(self, peer: bytes, record: bytes) -> None:
        if self.core is not None:
            self._do(self.core.on_record(self.now, peer, record))

    def on_frame(self, source: bytes, channel: str, frame: bytes) -> None:
        if self.paused:
            self._held.append((self.on_frame, (source, channel, frame)))
        elif self.core is not None:
            effects = self.core.on_frame(self.now, source, channel, frame)
            if effects:
                self._do(effects)

    def on_request(self, source: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None:
        if self.paused:
            self._held.append((self.on_request, (source, frame, reply)))
        elif self.core is not None:
            self._request_id += 1
            self._replies[self._request_id] = reply
            self._do(self.core.on_request(self.now, source, self._request_id, frame))

    def _input(self, life: int, call: Callable[[PeerCore], list[Effect]], *, late: bool = False) -> None:
        """Something that this life was waiting for has come, or (`late`) its deadline has."""
        if not self._lives(life) or self.core is None:
            return
        if self.paused:
            self._held.append((self._input, (life, call)))
        elif late:
            self._now(call(self.core))
            self._pump_after()
        elif self._busy:
            self._soon.append(call)
        else:
            self._do(call(self.core))

    # -- effects -----------------------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        """Effects that wait for nothing happen at once; the others in order, behind the journal."""
        self._now(effects)
        if self._ordered or self._timer_moved or self._soon:
            self._pump()

    def _now(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case SetTimer():
                    self._set_timer(effect)
                case Persist():
                    self._last_record = self.disk.append(effect.record)
                case Emit():
                    self.emit(effect)
                case Connect():
                    self._reach(effect.peer, lambda up: None)
                case Find():
                    self._find(effect.topic)
                case Serve():
                    self.network.serve(self, effect.topics)
                case Disconnect():
                    self.network.disconnect(self, effect.peer)
                case _:
                    self._ordered.append((effect, self._last_record))

    def _find(self, topic: str) -> None:
        life = self._life

        def found(peers: Providers) -> None:
            self._input(life, lambda core: core.on_found(self.now, topic, peers))

        self.network.find(self, topic, found)

    def _send(self, effect: Send) -> None:
        dropped = self.network.send_all(self, effect.peers, effect.channel, effect.frame, effect.priority)
        for peer in dropped:
            if self.core is not None:
                self._now(self.core.on_sent(self.now, peer, SendOutcome.DROPPED))

    def _pump(self) -> None:
        """Start what no record holds up any more; then timers that are due already; then take what was answered
        without any time passing. The order is that of node.runtime's tasks."""
        if self._busy:
            return
        self._busy, life = True, self._life
        while self._life == life and self.core is not None:
            if self._ordered and self._ordered[0][1] < len(self.disk.records):
                self._start_ordered(self._ordered.popleft()[0])
            elif self._timer_moved:
                self._timer_moved = False
                self._go_off(self.core)
            elif self._awake or self._soon:
                answered = self._awake or self._soon
                calls = answered.copy()
                answered.clear()
                for call in calls:
                    self._now(call(self.core))
            else:
                break
        self._busy = False

    def _pump_after(self) -> None:
        """As tasks do that wake at one moment: first every timer and deadline, then what they set in motion."""
        bucket = self.network.wheel.bucket(self.network.wheel.now_ms, Phase.AFTER)
        bucket.append(((self.index,), self._flush, (self._life,)))

    def _flush(self, life: int) -> None:
        if self._lives(life):
            self._pump()

    def _start_ordered(self, effect: Ordered) -> None:
        match effect:
            case Request():
                self._request(effect)
            case Reply():
                reply = self._replies.pop(effect.request_id, None)
                if reply is not None:
                    reply(effect.frame)
            case RunJob():
                self._run(effect)
            case CancelJob():
                self._running.pop(effect.token, None)
            case Fetch():
                self._fetch(effect)
            case Inspect():
                self._inspect(effect)
            case Locate():
                self._locate(effect)
            case Compare():
                token, pairs = effect.token, self.compare(effect)
                self._input(self._life, lambda core: core.on_compared(self.now, token, pairs))
            case Grant():
                self.grant(effect)
            case Redeem():
                self._redeem(effect)

    # -- timers ------------------------------------------------------------------------------------------------------

    def _set_timer(self, effect: SetTimer) -> None:
        if effect.at_mono_ms is None:
            self._timers.pop(effect.key, None)
            return
        at_ms = self._timers[effect.key] = effect.at_mono_ms
        heapq.heappush(self._due, (at_ms, effect.key))
        if self._due[0] == (at_ms, effect.key):
            self._timer_moved = True
        if at_ms > self.network.wheel.now_ms:
            self._wake_at(at_ms)

    def _wake_at(self, at_ms: int) -> None:
        """Look at the timers then, unless that happens earlier anyway."""
        if not self._wakes_ms or at_ms < self._wakes_ms:
            self._wakes_ms = at_ms
            bucket = self.network.wheel.bucket(at_ms, Phase.TIMER)
            bucket.append(((self.index,), self._wake, (at_ms, self._life)))

    def _wake(self, at_ms: int, life: int) -> None:
        core = self.core
        if not self._lives(life) or self._wakes_ms != at_ms or core is None:
            return
        if self.paused:
            self._held.append((self._wake, (at_ms, life)))
            return
        self._wakes_ms = 0
        self._go_off(core)
        self._timer_moved = False
        if self._ordered or self._soon:
            self._pump_after()
        if self._due:
            self._wake_at(self._due[0][0])

    def _go_off(self, core: PeerCore) -> None:
        """All timers that are due."""
        while self._due and self._due[0][0] <= self.network.wheel.now_ms:
            at_ms, key = heapq.heappop(self._due)
            if self._timers.get(key) == at_ms:
                del self._timers[key]
                self._now(core.on_timer(self.now, key))

    # -- requests ------------------------------------------------------------------------------------------------------

    def _request(self, effect: Request) -> None:
        life, open_ = self._life, [True]

        def settle(outcome: Outcome, *, late: bool = False) -> None:
            if open_:
                open_.clear()
                self._input(life, lambda core: core.on_response(self.now, effect.request_id, outcome), late=late)

        def expire() -> None:
            settle(Missed.TIMEOUT, late=True)

        def go(up: bool) -> None:
            if open_ and self._lives(life):
                place = effect.request_id
                if not self.network.request(self, effect.peer, effect.frame, settle, place):
                    settle(Missed.CLOSED)

        at_ms = self.network.wheel.now_ms + effect.timeout_ms
        key = self.index, effect.request_id, "request"
        self.network.wheel.at(at_ms, Phase.LATE, key, expire)
        if self.core is not None and effect.peer in self.core.peers:
            go(True)
        elif effect.addresses:
            self._reach(effect.peer, go)
        else:
            settle(Missed.CLOSED)

    def _reach(self, peer: bytes, then: Callable[[bool], None]) -> None:
        """Dial, once for all who ask meanwhile (node.dialling)."""
        if peer in self._dialling:
            self._dialling[peer].append(then)
            return
        self._dialling[peer] = [then]
        life = self._life

        def over(up: bool) -> None:
            if self._lives(life):
                for one in self._dialling.pop(peer):
                    one(up)

        self.network.connect(self, peer, over)

    # -- blobs and jobs ------------------------------------------------------------------------------------------------

    def _run(self, effect: RunJob) -> None:
        self.runs += 1
        number = self._running[effect.token] = self.runs
        took_ms, outcome = self.compute(effect.manifest, snapshots=effect.snapshots)
        key = self.index, JOB, 0, number
        at_ms = self.network.wheel.now_ms + took_ms
        self.network.wheel.at(at_ms, Phase.SETTLE, key, self._finished, effect.token, number, outcome, self._life)

    def _finished(self, token: str, number: int, outcome: JobOutcome, life: int) -> None:
        if self._lives(life) and self._running.get(token) == number:
            del self._running[token]
            self._input(life, lambda core: core.on_job(self.now, token, outcome))

    def _redeem(self, effect: Redeem) -> None:
        self.runs += 1
        fault, key = self.redeem(effect), (self.index, JOB, 3, self.runs)
        at_ms = self.network.wheel.now_ms + PAYING_MS
        self.network.wheel.at(at_ms, Phase.SETTLE, key, self._redeemed, effect.key, fault, self._life)

    def _redeemed(self, key: bytes, fault: str, life: int) -> None:
        self._input(life, lambda core: core.on_redeemed(self.now, key, fault))

    def _inspect(self, effect: Inspect) -> None:
        self.runs += 1
        took_ms, outcome = self.inspect(effect)
        key = self.index, JOB, 1, self.runs
        at_ms = self.network.wheel.now_ms + took_ms
        self.network.wheel.at(at_ms, Phase.SETTLE, key, self._inspected, effect.token, outcome, self._life)

    def _inspected(self, token: str, outcome: InspectOutcome, life: int) -> None:
        self._input(life, lambda core: core.on_inspected(self.now, token, outcome))

    def _locate(self, effect: Locate) -> None:
        self.runs += 1
        byte, silent = self.locate(effect)
        key = self.index, JOB, 2, self.runs
        at_ms = self.network.wheel.now_ms + LOCATING_MS
        self.network.wheel.at(at_ms, Phase.SETTLE, key, self._located, effect.token, byte, silent, self._life)

    def _located(self, token: str, byte: int | None, silent: tuple[bytes, ...], life: int) -> None:
        self._input(life, lambda core: core.on_located(self.now, token, byte, silent))

    def _fetch(self, effect: Fetch) -> None:
        """From the first source that gives the blobs, one after the other."""
        life = self._life
        sources = [(effect.peer, effect.addresses), *effect.others]
        roots, size = [root for root, _ in effect.blobs], sum(size for _, size in effect.blobs)
        open_ = [True]

        def end(blobs: tuple[bytes, ...] | None, reason: str = "", *, late: bool = False, held_bytes: int = 0) -> None:
            if open_:
                open_.clear()
                told = effect.token, blobs, reason, held_bytes
                self._input(life, lambda core: core.on_fetch(self.now, *told), late=late)

        def expire() -> None:
            end(None, "the transfer took too long", late=True)

        def next_source(reason: str) -> None:
            if not open_ or not self._lives(life):
                return
            if not sources:
                end(None, reason)
                return
            peer, addresses = sources.pop(0)

            def go(up: bool) -> None:
                if not self.network.transfer(self, peer, size, arrived):
                    next_source("not connected")

            def arrived(whole: bool) -> None:
                source = self.network.nodes[peer]
                assert isinstance(source, Site)
                if whole and source.gives(self.peer, roots):
                    end(self.take(source, effect.token, roots))
                elif whole and peer == effect.peer and (held := source.slice_for(self.peer, effect.blobs)):
                    end(None, "the rest is not paid", held_bytes=held)
                else:
                    next_source("the source does not have it")

            if peer in self.lines or not addresses:
                go(True)
            else:
                self.network.connect(self, peer, go)

        at_ms = self.network.wheel.now_ms + effect.timeout_ms
        key = self.index, self.runs, f"fetch {effect.token}"
        self.network.wheel.at(at_ms, Phase.LATE, key, expire)
        next_source("no source")
