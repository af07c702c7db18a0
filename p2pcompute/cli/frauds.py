"""Fraud proofs on the command line: written beside results, executed again by `p2pcompute audit`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pcompute.cli import output
from p2pcompute.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from p2pcompute.node.api import NodeApi
    from p2pcompute.node.fraud import Fraud

NAME: Final = "fraud-{}.p2p"


async def fetch_frauds(node: NodeApi, job: bytes) -> tuple[bytes, ...]:
    """The proofs against providers of this job that were refuted."""
    return tuple([await node.read(root, size) for root, size in await node.frauds(job)])


def write_frauds(out_dir: Path, proofs: Iterable[bytes]) -> list[Path]:
    """A file for each."""
    paths = []
    for number, proof in enumerate(proofs, 1):
        path = out_dir / NAME.format(number)
        path.write_bytes(proof)
        paths.append(path)
    return paths


def is_fraud(file: Path) -> bool:
    """Whether a file is a fraud proof, by its first bytes. Raises UsageError when it cannot be read."""
    from p2pcompute.wire.fraud import MAGIC

    try:
        with file.open("rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


def audit_fraud(file: Path, network: str, *, as_json: bool) -> None:
    """Execute a proof again. Raises VerificationError when it proves nothing, UsageError for no proof at all."""
    from p2pcompute.identity import names

    fraud = execute_fraud(file, network)
    facts = {"fraud": True, "provider": names.peer_id(fraud.provider), "task": fraud.task, "shown": fraud.sentence}
    output.put_facts(facts, as_json=as_json)


def execute_fraud(file: Path, network: str) -> Fraud:
    """What a fraud proof proves. Raises as `audit_fraud`."""
    import trio

    from p2pcompute.wire import limits
    from p2pcompute.wire.fraud import decode_fraud

    if file.stat().st_size > limits.FRAUD_BYTES_MAX:
        raise UsageError(f"{file} is larger than any fraud proof")
    try:
        proof = decode_fraud(file.read_bytes())
    except DecodeError as error:
        raise UsageError(f"{file}: {error}") from error
    fraud: Fraud = trio.run(_execute, network, proof)
    return fraud


async def _execute(network: str, proof: object) -> Fraud:
    from p2pcompute.identity import keys
    from p2pcompute.node import factory
    from p2pcompute.node.fraud import verify_fraud
    from p2pcompute.wire.fraud import FraudProof
    from p2pcompute.wire.manifest import decode_manifest

    assert isinstance(proof, FraudProof)
    try:
        memory = decode_manifest(proof.manifest).memory_bytes_max
    except DecodeError as error:
        raise UsageError(f"the proof's task cannot be read: {error}") from error
    engine = factory.cpu_engine(memory)
    try:
        return await verify_fraud(network, proof, engine, keys.verify)
    finally:
        await engine.aclose()
