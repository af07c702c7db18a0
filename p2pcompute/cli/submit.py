"""`p2pcompute run`: a kernel file and .npy files in, .npy files and evidence out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from p2pcompute.cli import output
from p2pcompute.cli.given import GIVEN, Given
from p2pcompute.cli.interrupt import run_until_signal
from p2pcompute.cli.money import format_credits, parse_credits
from p2pcompute.cli.needs import WANTED, Wanted
from p2pcompute.cli.options import COMMON, Common
from p2pcompute.errors import NoPeersError, UsageError

if TYPE_CHECKING:
    from p2pcompute.client.aio import AsyncClient, AsyncJob, Result
    from p2pcompute.client.calls import Call
    from p2pcompute.client.kernel import Kernel
    from p2pcompute.wire.policy import Policy

OFFERS_WAIT_S: Final = 10.0
"""For joining the mesh and filling the book, before it is said that nobody is there."""
CANCEL_S: Final = 3.0
"""For telling providers that a job was interrupted."""
EVIDENCE: Final = "evidence.p2p"


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Terms:
    """On which terms a kernel is run."""

    replicas: Annotated[int, Parameter(help="Providers that compute the same.")] = 2
    quorum: Annotated[
        int | None, Parameter(help="How many of them must agree [default: all but one, at least two].")
    ] = None
    verify: Annotated[
        Literal["replicate", "adaptive", "sample", "restricted"],
        Parameter(help="By replicas; by one of proven word; by a sample of blocks; by one of the --operator named."),
    ] = "replicate"
    samples: Annotated[int, Parameter(help="Blocks that are recomputed here, with --verify sample.")] = 44
    referee: Annotated[
        bool, Parameter(help="Where results differ, recompute the first block in which they do, instead of a majority.")
    ] = False
    budget: Annotated[str | None, Parameter(help="The most all replicas together may cost, in credits.")] = None
    timeout: Annotated[float, Parameter(help="The most seconds the whole job may take.")] = 600.0

    def policy(self) -> Policy:
        """Raises UsageError."""
        from p2pcompute.wire.policy import adaptive, replicate, restricted, sample

        if self.referee and self.verify != "replicate":
            raise UsageError("a referee decides between replicas: --referee goes with --verify replicate")
        if self.verify == "sample":
            return sample(self.samples)
        if self.verify == "restricted":
            return restricted()
        if self.verify == "adaptive":
            return adaptive(self.replicas, self.quorum)
        return replicate(self.replicas, self.quorum, referee=self.referee)

    def options(self) -> dict[str, object]:
        """The rest, as the client takes it. Raises UsageError."""
        found: dict[str, object] = {"timeout_s": self.timeout}
        if self.budget is not None:
            found["budget"] = parse_credits(self.budget)
        return found


TERMS: Final = Terms()


@dataclasses.dataclass(frozen=True)
class _Order:
    """What the command line asks for, parsed."""

    kernel: Kernel
    call: Call
    task: Mapping[str, object]
    policy: Policy
    terms: Mapping[str, object]
    out_dir: Path
    bootstrap: tuple[str, ...]
    network: str | None


def run(
    file: Path,
    /,
    *,
    entry: str,
    grid: str,
    block: str,
    given: Given = GIVEN,
    tolerance: list[str] | None = None,
    device_s: float = 60.0,
    terms: Terms = TERMS,
    wanted: Wanted = WANTED,
    out_dir: Path = Path("results"),
    bootstrap: list[str] | None = None,
    network: str | None = None,
    name: str = "",
    common: Common = COMMON,
) -> None:
    """Have a CUDA kernel run by several providers, and believe what they agree on.

    Each output is written as NAME.npy, all signed documents as evidence.p2p. The node that runs on the home is used
    when there is one; otherwise this command is a node of its own while it lasts.

    Args:
        file: CUDA C++ source, with its own headers beside it.
        entry: The __global__ function to run, or a template instance like scale<float>.
        grid: Blocks, like 3907 or 64,64.
        block: Threads of a block, like 256 or 16,16.
        tolerance: How close results of an output must be that are not the same bits, NAME=ulp:4 or NAME=rtol:1e-6.
        device_s: The most seconds the kernel may run; providers stop it then.
        out_dir: Where results are written; files of the same name are replaced.
        bootstrap: Address of a peer to join through; may be given several times.
        network: Name of the network.
        name: What to call the task [default: the entry].
    """
    order = _Order(
        kernel=given.kernel(file, entry),
        call=given.call(grid, block, tolerance or ()),
        task={"constants": given.constants(), "device_s": device_s, "name": name},
        policy=terms.policy(),
        terms=terms.options() | {"needs": wanted.needs()},
        out_dir=out_dir,
        bootstrap=tuple(bootstrap or ()),
        network=network,
    )
    make_directory(out_dir)
    run_until_signal(lambda: _run(order, common))


async def _run(order: _Order, common: Common) -> None:
    from p2pcompute.cli.progress import following
    from p2pcompute.client.aio import open_client
    from p2pcompute.node import factory

    started = time.monotonic()
    if not factory.home_exists(common.root):
        output.say(
            f"Making a home at {common.root}, its keys unencrypted (change that with: p2pcompute key passphrase)"
        )
    client_options = {"bootstrap": order.bootstrap, "network": order.network, "passphrase": common.passphrase()}
    async with open_client(common.root, **client_options) as client:  # type: ignore[arg-type]
        task = await client.prepare(order.kernel, [order.call], **order.task)  # type: ignore[arg-type]
        await _wait_for_offers(client, order.policy.replicas)
        async with following(client.node, quiet=common.json) as progress:
            job = await client.submit_task(task, policy=order.policy, **order.terms)  # type: ignore[arg-type]
            progress.job = job.id
            result = await _result(job)
        evidence, frauds = await job.evidence(), await job.frauds()
        network = str((await client.node.status())["network"])
    _write(order, result, evidence, frauds, job.id, network, time.monotonic() - started, common)


async def _wait_for_offers(client: AsyncClient, replicas: int) -> None:
    """Let the book fill up: the more offers, the better the price. Raises NoPeersError when none comes."""
    from p2pcompute.client.aio import wait_for_offers

    seen = await wait_for_offers(client.node, replicas, OFFERS_WAIT_S / 2)
    if seen == 0:
        seen = await wait_for_offers(client.node, 1, OFFERS_WAIT_S / 2)
    if seen == 0:
        peers = (await client.node.status())["peers"]
        if not peers:
            raise NoPeersError("no peer is connected; give the address of one that serves: --bootstrap ADDRESS")
        raise NoPeersError(f"none of the {peers} connected peers knows an offer; start one with: p2pcompute serve")


async def _result(job: AsyncJob) -> Result:
    """The job's result; an interrupted job is cancelled, so that nobody goes on computing it."""
    import trio

    try:
        return await job.result()
    except trio.Cancelled:
        with trio.CancelScope(deadline=trio.current_time() + CANCEL_S, shield=True):
            await job.cancel()
            await job.outcome()
        raise


def make_directory(path: Path) -> None:
    """Have an output directory. Raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out-dir {path} cannot be made: {error.strerror}") from error


def _write(
    order: _Order,
    result: Result,
    evidence: tuple[bytes, ...],
    frauds: tuple[bytes, ...],
    job: bytes,
    network: str,
    seconds: float,
    common: Common,
) -> None:
    """Files into the directory, the summary onto stdout."""
    from p2pcompute.cli.bundle import write_bundle
    from p2pcompute.cli.frauds import write_frauds

    files = {name: order.out_dir / f"{name}.npy" for name in result.outputs}
    for name, path in files.items():
        save_array(path, result.outputs[name])
    bundle = order.out_dir / EVIDENCE
    write_bundle(bundle, evidence)
    proofs = write_frauds(order.out_dir, frauds)
    if common.json:
        output.put_json(
            {
                "job": job,
                "outputs": {name: str(path) for name, path in files.items()},
                "evidence": str(bundle),
                "frauds": list(map(str, proofs)),
                "price": result.price,
                "receipts": result.receipts,
                "seconds": round(seconds, 3),
            }
        )
        return
    rows = [
        {"name": n, "dtype": str(a.dtype), "shape": "x".join(map(str, a.shape)), "file": str(files[n])}
        for n, a in result.outputs.items()
    ]
    columns = [output.Column(key, key) for key in ("name", "dtype", "shape", "file")]
    output.put_table(rows, columns, as_json=False, none="the kernel has no outputs")
    on = f" --network {network}" if network != "main" else ""
    output.say(
        f"{len(result.receipts)} receipts, {format_credits(result.price)} credits, {seconds:.1f} s; "
        f"check them with: p2pcompute audit {bundle}{on}"
    )
    for proof in proofs:
        output.say(f"A provider's result was false; whoever doubts it can execute: p2pcompute audit {proof}{on}")


def save_array(path: Path, array: object) -> None:
    """Write a .npy file in one step: what was at `path` may still be mapped as an input."""
    import numpy as np

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, np.asarray(array), allow_pickle=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
