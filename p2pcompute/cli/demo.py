"""`p2pcompute demo`: a network of real processes, real kernels, one liar caught, receipts verified."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import trio

import kernels_cu
from kernels_cu import KernelSpec, Work
from p2pcompute.cli.bundle import read_bundle, write_bundle
from p2pcompute.cli.demo_providers import Provider, drain_output, spawn, stopping, wait_listening
from p2pcompute.cli.demo_view import DemoView
from p2pcompute.cli.png import escape_colours, write_png
from p2pcompute.client.aio import AsyncClient, Result, open_client, wait_for_offers
from p2pcompute.client.arguments import In, InOut, Out, Value
from p2pcompute.client.kernel import Kernel
from p2pcompute.errors import LocalError, P2PComputeError
from p2pcompute.identity import keys, names
from p2pcompute.node.config import DEFAULT_NETWORK
from p2pcompute.protocol.receipts import Audit, audit

TASKS: Final = (("saxpy", 4), ("mandelbrot", 6), ("black_scholes_mc", 2))
"""Kernels of the library, with the scale of their work."""
REPLICAS: Final = 2
OFFERS_S: Final = 30.0
PEERS_MIN: Final = 3


@dataclasses.dataclass
class Score:
    """What the demo reports."""

    peers: int = 0
    tasks: int = 0
    accepted: int = 0
    wrong_accepted: int = 0
    liars_caught: int = 0
    liars_free: int = 0
    receipts_verified: int = 0
    seconds: float = 0.0
    picture: str = ""


def run_demo(nodes: int = 5, liars: int = 1, *, json: bool = False, out_dir: Path, keep: bool = False) -> int:
    """Run it; the exit code: 0 when every task was accepted, nothing wrong was, and no liar that still
    lives went uncaught.

    `out_dir` gets the picture and the evidence; `keep` leaves the homes and logs of all peers there too.
    """
    if nodes < PEERS_MIN or not 0 <= liars <= (nodes - 1) // 2:
        raise LocalError(f"{nodes} nodes with {liars} liars: needs at least {PEERS_MIN} nodes and an honest majority")
    out_dir.mkdir(parents=True, exist_ok=True)
    score = trio.run(_main, nodes, liars, json, out_dir, keep)
    good = score.accepted == score.tasks and not score.wrong_accepted and not score.liars_free
    return 0 if good else 1


async def _main(nodes: int, liars: int, as_json: bool, out_dir: Path, keep: bool) -> Score:
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="p2pcompute-demo-"))
    try:
        with DemoView(quiet=as_json) as view:
            score = await _run(root, nodes, liars, out_dir, view)
            score.seconds = round(time.monotonic() - started, 1)
            view.summary(dataclasses.asdict(score))
    finally:
        if keep:
            shutil.copytree(root, out_dir / "homes", dirs_exist_ok=True, ignore=lambda *_: {"control.sock"})
        shutil.rmtree(root, ignore_errors=True)
    if as_json:
        print(json.dumps(dataclasses.asdict(score)), flush=True)
    return score


async def _run(root: Path, nodes: int, liars: int, out_dir: Path, view: DemoView) -> Score:
    score = Score(tasks=len(TASKS))
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(root / "requester"))
        address = await _listening_address(client)
        view.say(f"a requester listens at {address}; every provider joins through it")
        providers: list[Provider] = []
        await stack.enter_async_context(stopping(providers))
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        for number in range(1, nodes + 1):
            providers.append(spawn(number, root, address, liar=1 < number <= 1 + liars))
            view.provider(providers[-1])
        await _gather(client, providers, nursery, view)
        score.peers = sum(p.alive for p in providers)
        nursery.start_soon(_follow, client, view)
        for name, scale in TASKS:
            await _one_task(client, name, scale, score, out_dir, view)
        caught = await _caught(client, providers)
        score.liars_caught = len(caught)
        score.liars_free = sum(1 for p in providers if p.liar and p.alive and names.peer_id(p.peer) not in caught)
        checked = await _verify_receipts(client, out_dir / "evidence.p2p")
        score.receipts_verified = sum(1 for line in checked.receipts if not line.faults and line.countersigned)
        view.receipts(checked)
    return score


async def _listening_address(client: AsyncClient) -> str:
    addresses = (await client.node.status())["addresses"]
    assert isinstance(addresses, list)
    return str(addresses[0])


async def _gather(client: AsyncClient, providers: list[Provider], nursery: trio.Nursery, view: DemoView) -> None:
    """Wait until every provider that lives has its offer in the requester's book."""

    async def one(provider: Provider) -> None:
        if await wait_listening(provider):
            asks = f"{provider.price / 1e6:.2f} credits per device-second, {provider.price_gb / 1e6:.2f} per GB"
            view.say(f"{provider.name} listens, asks {asks}")
            nursery.start_soon(drain_output, provider)
        else:
            provider.process.kill()
            view.say(f"{provider.name} did not start; its log is {provider.log}")

    async with trio.open_nursery() as starting:
        for provider in providers:
            starting.start_soon(one, provider)
    with trio.move_on_after(OFFERS_S):
        while await wait_for_offers(client.node, sum(p.alive for p in providers), 0.5) < sum(
            p.alive for p in providers
        ):
            pass
    alive = sum(p.alive for p in providers)
    if alive < PEERS_MIN:
        raise LocalError(
            f"only {alive} of {len(providers)} providers started; see the first lines of {providers[0].log}"
        )
    view.say(f"the requester's book holds {await wait_for_offers(client.node, alive, 0)} signed offers")


async def _follow(client: AsyncClient, view: DemoView) -> None:
    async with client.events() as events:
        async for event in events:
            view.event(event.name, event.fields)


async def _caught(client: AsyncClient, providers: list[Provider]) -> set[object]:
    """The peer ids of the liars whose operators the requester banned."""
    banned = {row["operator"] for row in await client.node.table("bans")}
    liars = {names.peer_id(p.peer) for p in providers if p.liar}
    book = await client.node.table("book")
    return {row["peer"] for row in book if row["peer"] in liars and row["operator"] in banned}


async def _one_task(client: AsyncClient, name: str, scale: int, score: Score, out_dir: Path, view: DemoView) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(scale)
    kernel = Kernel(spec.source, spec.entry, spec.file_name)
    view.task(name, spec.title)
    try:
        job = await client.submit(
            kernel,
            grid=work.grid,
            block=work.block,
            shared_bytes=work.shared_bytes,
            replicas=REPLICAS,
            device_s=20.0,
            timeout_s=100.0,
            name=name,
            arguments=arguments_of(spec, work),
        )
        result = await job.result()
    except P2PComputeError as error:
        view.say(f"{name}: {error}")
        return
    score.accepted += 1
    fault = await trio.to_thread.run_sync(spec.check, work, result.outputs)
    score.wrong_accepted += bool(fault)
    view.say(f"{name}: accepted, {fault or 'and right by the numpy reference'}; paid {result.price / 1e6:.6f} credits")
    if name == "mandelbrot":
        score.picture = str(_draw(result, work, out_dir))
        view.say(f"the picture is {score.picture}")


def arguments_of(spec: KernelSpec, work: Work) -> Mapping[str, Value]:
    """A library kernel's work as named arguments."""
    dtypes: dict[str, np.dtype[Any]] = {n: np.dtype(kernels_cu.library.DTYPES[d]) for n, (d, _) in work.outputs.items()}
    values: dict[str, Value] = {}
    for p in spec.parameters:
        if p.role == "scalar":
            values[p.name] = work.scalars[p.name]
        elif p.role == "in":
            values[p.name] = In(work.inputs[p.name])
        elif p.role == "inout":
            values[p.name] = InOut(work.inputs[p.name].copy())
        else:
            values[p.name] = Out.of(work.outputs[p.name][1], dtypes[p.name])
    return values


def _draw(result: Result, work: Work, out_dir: Path) -> Path:
    path = out_dir / "mandelbrot.png"
    write_png(path, escape_colours(result["steps"], int(work.scalars["steps_max"])))
    return path.absolute()


async def _verify_receipts(client: AsyncClient, path: Path) -> Audit:
    """Write every signed document to a file, then check that file as a stranger would: with public keys only."""
    write_bundle(path, await client.node.bundle(b""))
    return await trio.to_thread.run_sync(lambda: audit(DEFAULT_NETWORK, read_bundle(path), keys.verify))
