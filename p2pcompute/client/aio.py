"""The client for trio programs; the synchronous Client runs one of these on a thread of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import trio

from p2pcompute import errors
from p2pcompute.client.arguments import Array, Value
from p2pcompute.client.calls import Call, Dim
from p2pcompute.client.kernel import Kernel
from p2pcompute.client.task import Task, make_task
from p2pcompute.compute.compiler import CompiledSource, Compiler
from p2pcompute.errors import P2PComputeError, RemoteError
from p2pcompute.node import factory
from p2pcompute.node.api import Event, JobResult, NodeApi
from p2pcompute.node.config import DEFAULT_NETWORK
from p2pcompute.protocol.commands import DEFAULT, Submit
from p2pcompute.protocol.matching import ANYBODY, Needs
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import decode_manifest
from p2pcompute.wire.policy import Policy, policy_fault, replicate

COMPILED_MAX: Final = 256
BUDGET_DEFAULT: Final = 10_000_000_000
"""Micro-credits: ten thousand credits."""
DEVICE_S_DEFAULT: Final = 60.0
TIMEOUT_S_DEFAULT: Final = 600.0
SESSION_PROVIDERS_DEFAULT: Final = 3
CLOSE_S: Final = 3.0
"""For giving a session's leases back when its block was cancelled."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a job brought: `outputs` by parameter name, the micro-credits paid, and the ids of the receipts."""

    outputs: Mapping[str, Array]
    price: int
    receipts: tuple[bytes, ...]

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]


class AsyncClient:
    """Submits kernels. Made by `open_client`."""

    def __init__(self, node: NodeApi, compiler: Compiler) -> None:
        self.node, self._compiler = node, compiler
        self._compiled: dict[tuple[object, ...], CompiledSource] = {}

    async def compile(self, kernel: Kernel, entries: Iterable[str] = ()) -> CompiledSource:
        """Compile once; later calls with the same kernel cost nothing. `entries`: instances of templates beside the
        kernel's own. Raises CompileError."""
        instances = tuple(dict.fromkeys(entry for entry in (kernel.entry, *entries) if "<" in entry))
        key = (
            kernel.source,
            kernel.name,
            tuple(sorted(kernel.headers.items())),
            tuple(sorted(kernel.defines.items())),
            instances,
        )
        compiled = self._compiled.get(key)
        if compiled is None:
            sources = {**kernel.headers, kernel.name: kernel.source}
            compiled = await self._compiler.compile(sources, kernel.name, defines=kernel.defines, instances=instances)
            while len(self._compiled) >= COMPILED_MAX:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key] = compiled
        return compiled

    async def submit(
        self,
        kernel: Kernel,
        *positional: Value,
        arguments: Mapping[str, Value] | None = None,
        constants: Mapping[str, Array] | None = None,
        calls: Sequence[Call] = (),
        grid: Dim | None = None,
        block: Dim | None = None,
        shared_bytes: int = 0,
        repeats: int = 1,
        replicas: int = 2,
        quorum: int | None = None,
        policy: Policy | None = None,
        budget: int = BUDGET_DEFAULT,
        needs: Needs = ANYBODY,
        device_s: float = DEVICE_S_DEFAULT,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        name: str = "",
        session: AsyncSession | None = None,
        **named: Value,
    ) -> AsyncJob:
        """Have a kernel run by `replicas` providers; believed when `quorum` of them (all but one, at least two, when
        not given; one replica is believed as it is) state the same result. `policy`, when given, says it instead of
        these two: p2pcompute.replicate, adaptive or sample.

        Arguments go by position or by the parameter's name in the source; `arguments` takes names that collide with
        options. `repeats` launches the kernel so many times in a row. `calls` are several launches instead of one, in
        order, on memory they share. `constants` sets variables of the source (`__constant__` or `__device__`) before
        the first.
        `budget` is micro-credits, `needs` what is asked of providers beyond the kernel's own memory and time;
        `device_s` bounds the kernel, `timeout_s` the whole job. Raises UsageError and CompileError before
        anything is sent.
        """
        given = {**(arguments or {}), **named}
        if calls and (given or positional or (grid, block, shared_bytes, repeats) != (None, None, 0, 1)):
            raise errors.UsageError("with calls, arguments and shapes stand in each call")
        if not calls:
            if grid is None or block is None:
                raise errors.UsageError("a launch needs a grid and a block")
            calls = [Call(given, grid, block, "", shared_bytes, repeats, position=positional)]
        task = await self.prepare(kernel, calls, device_s=device_s, name=name, constants=constants)
        return await self.submit_task(
            task,
            policy=policy or replicate(replicas, quorum),
            budget=budget,
            needs=needs,
            timeout_s=timeout_s,
            session=session,
        )

    async def prepare(
        self,
        kernel: Kernel,
        calls: Sequence[Call],
        *,
        device_s: float = DEVICE_S_DEFAULT,
        name: str = "",
        constants: Mapping[str, Array] | None = None,
    ) -> Task:
        """Compile and check everything that needs no peer. Raises UsageError and CompileError."""
        compiled = await self.compile(kernel, [call.entry for call in calls])
        return make_task(
            kernel,
            compiled,
            calls,
            device_ms_max=max(1, int(device_s * 1000)),
            name=name or kernel.entry[:64],
            constants=constants,
        )

    async def submit_task(
        self,
        task: Task,
        *,
        policy: Policy = DEFAULT,
        budget: int = BUDGET_DEFAULT,
        needs: Needs = ANYBODY,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        session: AsyncSession | None = None,
    ) -> AsyncJob:
        """Have a prepared task run, on the terms that `submit` explains. Raises UsageError."""
        fault = policy_fault(policy)
        if fault:
            raise errors.UsageError(fault)
        stored = await _stored(task) if policy.keeps_states else ()
        for blob in task.blobs:
            await self.node.put(blob)
        job = secrets.token_bytes(16)
        await self.node.submit(
            Submit(
                job,
                task.manifest,
                policy=policy,
                stored=stored,
                budget=budget,
                needs=needs,
                timeout_ms=max(1, int(timeout_s * 1000)),
                session=session.id if session is not None else b"",
                session_providers=session.providers if session is not None else 0,
            )
        )
        return AsyncJob(self.node, job, task)

    @contextlib.asynccontextmanager
    async def session(self, *, providers: int = SESSION_PROVIDERS_DEFAULT) -> AsyncIterator[AsyncSession]:
        """Keep leases with up to so many providers for as long as the block runs, and have them work on its jobs one
        after the other: without asking for prices or reserving again, which is most of what a small job costs.

        Jobs that are not over at the end of the block go on. Raises UsageError.
        """
        if not 1 <= providers <= limits.SLOTS_MAX:
            raise errors.UsageError(f"a session has 1 to {limits.SLOTS_MAX} providers, not {providers}")
        opened = AsyncSession(self, secrets.token_bytes(16), providers)
        try:
            yield opened
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
                await self.node.act("close-session", opened.id.hex())

    def events(self) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Everything that happens at the node from now on."""
        return self.node.events()


@dataclasses.dataclass(frozen=True)
class AsyncSession:
    """Made by `AsyncClient.session`."""

    client: AsyncClient
    id: bytes
    providers: int

    async def submit(self, kernel: Kernel, *positional: Value, **options: Any) -> AsyncJob:
        """As AsyncClient.submit, on the session's leases."""
        return await self.client.submit(kernel, *positional, session=self, **options)


class AsyncJob:
    """A submitted job."""

    def __init__(self, node: NodeApi, job_id: bytes, task: Task) -> None:
        self.id = job_id
        self._node, self._task = node, task

    async def outcome(self) -> JobResult:
        """Wait until it is over; never raises for how it ended."""
        return await self._node.result(self.id)

    async def result(self) -> Result:
        """Wait, and bring the outputs: by name, and into the arrays given to Out and InOut.

        Raises the error the job ended with: KernelError, NoPeersError, BudgetError, VerificationError, RemoteError.
        """
        ended = await self.outcome()
        if ended.code:
            raise error_of(ended)
        outputs = {}
        for (root, size), (name, dtype, shape, array) in zip(ended.outputs, self._task.outputs, strict=True):
            data = await self._node.read(root, size)
            outputs[name] = np.frombuffer(bytearray(data), dtype).reshape(shape)
            array[...] = outputs[name]
        return Result(outputs, ended.price, ended.receipts)

    async def cancel(self) -> None:
        """Give it up: providers stop, nothing is owed."""
        await self._node.stop_job(self.id)

    async def frauds(self) -> tuple[bytes, ...]:
        """Proofs against providers whose results a sample refuted, for `p2pcompute audit`: anyone can execute them."""
        return tuple([await self._node.read(root, size) for root, size in await self._node.frauds(self.id)])

    async def evidence(self) -> tuple[bytes, ...]:
        """All signed documents of the job, for `p2pcompute audit`."""
        return await self._node.bundle(self.id)


async def _stored(task: Task) -> tuple[tuple[int, ...], ...]:
    """What each launch stores to, where blocks of the task may be sampled. Raises UsageError, with the reason, where
    they may not."""
    from p2pcompute.compute.sampling.task import map_fault, sampled

    manifest = decode_manifest(task.manifest)
    found = await trio.to_thread.run_sync(sampled, manifest, task.ptx)
    fault = found.fault
    if not fault and found.unproven:
        engine = factory.cpu_engine(manifest.memory_bytes_max)
        try:
            fault = await map_fault(engine, manifest, task.ptx, found.unproven)
        finally:
            await engine.aclose()
    if fault:
        raise errors.UsageError(f"blocks of {manifest.name} cannot stand for it: {fault}; replicate it instead")
    return found.stored


def error_of(ended: JobResult) -> P2PComputeError:
    """The error that a job ended with."""
    kinds: Mapping[int, type[P2PComputeError]] = {
        errors.NoPeersError.exit_code: errors.NoPeersError,
        errors.BudgetError.exit_code: errors.BudgetError,
        errors.VerificationError.exit_code: errors.VerificationError,
    }
    kernel_fault = ended.error.startswith(("launch", "the kernel", "providers refused"))
    fallback = errors.KernelError if kernel_fault else RemoteError
    return kinds.get(ended.code, fallback)(ended.error)


@contextlib.asynccontextmanager
async def open_client(
    home: Path | None = None,
    *,
    bootstrap: Sequence[str] = (),
    network: str | None = None,
    passphrase: str | Callable[[], str] = "",
) -> AsyncIterator[AsyncClient]:
    """A client on a home's node: the one that runs there already, or one of its own for as long as the block runs.

    Without `home`, a fresh one in a temporary directory is used and forgotten at the end.
    """
    with contextlib.ExitStack() as stack:
        if home is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="p2pcompute-"))
            home = Path(directory) / "home"
        factory.ensure_home(home, passphrase if isinstance(passphrase, str) else "", network or DEFAULT_NETWORK)
        changes: dict[str, object] = {"network": network, "bootstrap": tuple(bootstrap) or None, "provide": False}
        async with factory.open_requester(home, passphrase, changes) as node, factory.compiler() as compiler:
            yield AsyncClient(node, compiler)


async def wait_for_offers(node: NodeApi, count: int, timeout_s: float) -> int:
    """Wait until the book holds so many offers, or the time is up; how many it holds."""
    deadline = trio.current_time() + timeout_s
    while True:
        offers = len(await node.table("book"))
        if offers >= count or trio.current_time() >= deadline:
            return offers
        await trio.sleep(0.05)
