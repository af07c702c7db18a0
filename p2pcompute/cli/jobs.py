"""Jobs of this node: what it submitted, how far it is, what came of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pcompute.cli import output
from p2pcompute.cli.attach import ask
from p2pcompute.cli.options import COMMON, Common
from p2pcompute.errors import P2PComputeError, UsageError

if TYPE_CHECKING:
    from p2pcompute.node.api import NodeApi

COLUMNS: Final = (
    output.Column("job", "job"),
    output.Column("task", "task"),
    output.Column("state", "state"),
    output.Column("replicas", "replicas", lambda r: ", ".join(f"{peer} {state}" for peer, state in r.items())),
    output.Column("demand", "demand"),
    output.Column("error", "error"),
)
JOB_ID_BYTES: Final = 16


def job_id(text: str) -> bytes:
    """32 hex digits. Raises UsageError."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != JOB_ID_BYTES:
        raise UsageError(f"{text[:64]!r} is no job; list them with: p2pcompute job list")
    return value


def job_list(*, common: Common = COMMON) -> None:
    """List the jobs this node submitted."""
    rows = ask(common, lambda node: node.table("jobs"))
    output.put_table(rows, COLUMNS, as_json=common.json, none="no jobs yet; submit one with: p2pcompute run")


def job_show(job: str, /, *, common: Common = COMMON) -> None:
    """Show one job.

    Args:
        job: Its id.
    """
    wanted = job_id(job).hex()
    output.put_facts(ask(common, lambda node: _find(node, wanted)), as_json=common.json)


async def _find(node: NodeApi, job: str) -> dict[str, object]:
    for row in await node.table("jobs"):
        if row["job"] == job:
            return row
    raise UsageError(f"no job {job} here; list them with: p2pcompute job list")


def job_stop(job: str, /, *, common: Common = COMMON) -> None:
    """Give a job up: providers stop, nothing is owed.

    Args:
        job: Its id.
    """
    wanted = job_id(job)

    async def stop(node: NodeApi) -> dict[str, object]:
        await _find(node, wanted.hex())
        await node.stop_job(wanted)
        return await _find(node, wanted.hex())

    row = ask(common, stop)
    output.put_facts({"job": row["job"], "state": row["state"]}, as_json=common.json)


def job_result(job: str, /, *, out_dir: Path = Path("results"), common: Common = COMMON) -> None:
    """Wait for a job, and write its outputs and evidence.

    Args:
        job: Its id.
        out_dir: Where results are written; files of the same name are replaced.
    """
    from p2pcompute.cli.bundle import write_bundle
    from p2pcompute.cli.frauds import write_frauds
    from p2pcompute.cli.submit import EVIDENCE, make_directory, save_array

    wanted = job_id(job)
    make_directory(out_dir)
    arrays, evidence, frauds = ask(common, lambda node: _fetch(node, wanted))
    files = {name: out_dir / f"{name}.npy" for name in arrays}
    for name, path in files.items():
        save_array(path, arrays[name])
    write_bundle(out_dir / EVIDENCE, evidence)
    proofs = write_frauds(out_dir, frauds)
    outputs = {name: str(path) for name, path in files.items()}
    facts: dict[str, object] = {"job": job, "outputs": outputs, "evidence": str(out_dir / EVIDENCE)}
    if proofs:
        facts["frauds"] = list(map(str, proofs))
    if not common.json:
        facts["outputs"] = list(outputs.values())
    output.put_facts(facts, as_json=common.json)


async def _fetch(node: NodeApi, job: bytes) -> tuple[dict[str, Any], tuple[bytes, ...], tuple[bytes, ...]]:
    import numpy as np

    from p2pcompute.cli.frauds import fetch_frauds
    from p2pcompute.client.aio import error_of
    from p2pcompute.client.arguments import NUMPY_OF

    row = await _find(node, job.hex())
    ended = await node.result(job)
    if ended.code:
        raise error_of(ended)
    described = row["outputs"]
    assert isinstance(described, list)
    arrays = {}
    for (root, size), (name, dtype, shape) in zip(ended.outputs, described, strict=True):
        data = await node.read(root, size)
        if math.prod(shape) * NUMPY_OF[dtype].itemsize != len(data):
            raise P2PComputeError(f"output {name} has {len(data)} bytes, which is not {dtype}{list(shape)}")
        arrays[name] = np.frombuffer(data, NUMPY_OF[dtype]).reshape(shape)
    return arrays, await node.bundle(job), await fetch_frauds(node, job)
