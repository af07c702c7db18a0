"""What the effect loop needs of its surroundings. A node has them of libp2p, SQLite and real engines; a simulation of
virtual time has its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import trio

from p2pcompute.protocol.kademlia import Contact
from p2pcompute.protocol.machine import (
    Compare,
    Fetch,
    Grant,
    Inspect,
    InspectOutcome,
    JobOutcome,
    Locate,
    Now,
    Priority,
    Redeem,
    RunJob,
)
from p2pcompute.transport.mux import Stream


class Clock(Protocol):
    """Both clocks of a node, and what its moments are in trio's time."""

    def now(self) -> Now: ...

    def deadline(self, mono_ms: int) -> float:
        """The moment at which `now().mono_ms` reaches this value, for trio's deadlines."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Now:
        return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)

    def deadline(self, mono_ms: int) -> float:
        return trio.current_time() + (mono_ms - time.monotonic_ns() / 1e6) / 1e3


class Ticket(Protocol):
    """One record on its way to the disk."""

    async def wait(self) -> int:
        """Its number, once it is durable. Raises HomeError when it could not be written."""


class Committer(Protocol):
    """The journal. Records become durable in the order in which they were enqueued."""

    def enqueue(self, record: bytes) -> Ticket: ...


class Network(Protocol):
    """Connections, frames and requests; transport.libp2p.Libp2pTransport is one. What cannot be done raises RemoteError
    or LocalError."""

    def send(self, peer: bytes, channel: str, frame: bytes, priority: Priority) -> bool: ...
    async def request(self, peer: bytes, channel: str, frame: bytes, *, timeout_s: float) -> bytes: ...
    async def connect(self, address: str, *, timeout_s: float) -> bytes: ...
    async def disconnect(self, peer: bytes) -> None: ...
    async def open_stream(self, peer: bytes, protocol: str) -> Stream: ...
    async def signed_record(self, peer: bytes) -> bytes: ...


class PeerFinder(Protocol):
    """Where peers are that nobody is connected to; transport.routing.Routing is one. Its length is how many it
    knows."""

    def __len__(self) -> int: ...
    async def find_peer(self, peer: bytes) -> Sequence[str]: ...
    async def find_providers(self, topic: str) -> Sequence[Contact]: ...
    def serves(self, topics: Sequence[str]) -> None: ...
    async def met(self, peer: bytes, addresses: Sequence[str]) -> bool: ...
    def told(self, peer: bytes, addresses: Sequence[str]) -> bool: ...
    async def serve(self, peer: bytes, stream: Stream) -> None: ...


class Streams(Protocol):
    """Opens streams to peers, dialling them first where addresses are given."""

    async def open_stream_to(self, peer: bytes, addresses: tuple[str, ...], protocol: str) -> Stream: ...


class Payments(Protocol):
    """The operator's way to have value leave; node.payments.Command is one."""

    async def pay(self, effect: Redeem) -> str:
        """Empty when the value has left; else what went wrong, for a person: then it may have left or not."""


class Work(Protocol):
    """Blobs and engines; node.workshop.Workshop is one."""

    def grant(self, effect: Grant) -> None: ...
    async def fetch(self, effect: Fetch, network: Streams) -> tuple[bytes, ...]:
        """Have the blobs here; their bytes when they are a manifest's. Raises RemoteError or LocalError."""

    async def run(self, effect: RunJob) -> JobOutcome: ...
    async def inspect(self, effect: Inspect, network: Streams) -> InspectOutcome: ...
    async def locate(self, effect: Locate, network: Streams) -> tuple[int | None, tuple[bytes, ...]]:
        """A byte in which two peers' contents of a buffer differ; or None, and who of them proved no leaf."""

    async def compare(self, effect: Compare) -> tuple[tuple[int, int], ...] | None:
        """Which results are close to each other; None where one of them is not here."""

    async def serve(self, peer: bytes, stream: Stream) -> None: ...
    async def run_retention(self) -> None:
        """For as long as the node lives: let go of what nobody waits for any more."""
