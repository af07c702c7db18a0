"""Receipts and other evidence: what can be checked offline, with public keys only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pcompute.cli import output
from p2pcompute.cli.attach import ask
from p2pcompute.cli.frauds import audit_fraud, execute_fraud, is_fraud
from p2pcompute.cli.money import format_credits
from p2pcompute.cli.options import COMMON, JSON, Common, Json
from p2pcompute.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from p2pcompute.node.fraud import Fraud
    from p2pcompute.protocol.receipts import Audit, ReceiptLine
    from p2pcompute.wire.documents import EquivocationProof

RECEIPT_COLUMNS: Final = (
    output.Column("receipt", "receipt", lambda text: str(text)[:16]),
    output.Column("role", "role"),
    output.Column("n", "n", right=True),
    output.Column("provider", "provider"),
    output.Column("device_us", "device ms", lambda us: f"{us / 1000:.1f}", right=True),
    output.Column("price", "credits", format_credits, right=True),
)
_AUDIT_COLUMNS: Final = (
    output.Column("receipt", "receipt", lambda text: str(text)[:16]),
    output.Column("provider", "provider"),
    output.Column("n", "n", right=True),
    output.Column("device_us", "device ms", lambda us: f"{us / 1000:.1f}", right=True),
    output.Column("price", "credits", format_credits, right=True),
    output.Column("countersigned", "paid", lambda paid: "yes" if paid else "no"),
    output.Column("faults", "verdict", lambda faults: "; ".join(faults) or "holds"),
)


def audit(file: Path, /, *, network: str = "main", options: Json = JSON) -> None:
    """Check the signed documents in an evidence file: every signature, and that they fit together; or execute a fraud
    proof again, here. Needs no network.

    Args:
        file: Evidence, as `p2pcompute run` and `p2pcompute receipt export` write it, or a fraud proof.
        network: Name of the network the documents were signed for.
    """
    if is_fraud(file):
        audit_fraud(file, network, as_json=options.json)
    else:
        _judge(_audited(file, network), as_json=options.json)


def ban_by_proof(file: Path, common: Common) -> list[str]:
    """Ban whom a file convicts, once it was checked here; what was done, a sentence each. Raises VerificationError for
    a fraud proof that proves nothing and for evidence that convicts nobody, UsageError for what is neither."""
    network = str(ask(common, lambda node: node.status())["network"])
    if is_fraud(file):
        return [_ban_fraud(execute_fraud(file, network), common)]
    return [_accuse(proof, common) for proof in _proofs(file, network)]


def _ban_fraud(fraud: Fraud, common: Common) -> str:
    from p2pcompute.identity import names

    convicted = f"{names.did_key(fraud.provider)} a fraud proof: {fraud.sentence}"
    return ask(common, lambda node: node.act("convict", convicted))


def _accuse(proof: EquivocationProof, common: Common) -> str:
    statements = f"{proof.first.hex()} {proof.second.hex()}"
    return ask(common, lambda node: node.act("accuse", statements))


def _proofs(file: Path, network: str) -> list[EquivocationProof]:
    from p2pcompute.cli.bundle import read_bundle
    from p2pcompute.identity import keys
    from p2pcompute.protocol.receipts import equivocations

    found = equivocations(network, read_bundle(file), keys.verify)
    if not found:
        raise VerificationError(f"{file} convicts nobody on network {network!r}; see: p2pcompute audit {file}")
    return found


def _audited(file: Path, network: str) -> Audit:
    from p2pcompute.cli.bundle import read_bundle
    from p2pcompute.identity import keys
    from p2pcompute.protocol.receipts import audit as audit_documents

    return audit_documents(network, read_bundle(file), keys.verify)


def _judge(found: Audit, *, as_json: bool, only: str = "") -> None:
    """Print what an audit found. Raises VerificationError for any fault, UsageError when there is nothing to check."""
    lines = [_row(line) for line in found.receipts if line.receipt.id.hex().startswith(only)]
    if only and len(lines) != 1:
        raise UsageError(
            f"{len(lines)} receipts of the file begin with {only!r}; list them with: p2pcompute audit FILE"
        )
    faults = [] if only else found.faults
    bad = len(faults) + sum(1 for line in lines if line["faults"])
    if as_json:
        output.put_json({"ok": not bad, "documents": found.documents, "faults": faults, "receipts": lines})
    else:
        output.put_table(lines, _AUDIT_COLUMNS, as_json=False, none="the file holds no receipts")
        for fault in faults:
            output.put(fault)
    if bad:
        hint = "; was it signed for another network? give --network" if len(faults) == found.documents else ""
        raise VerificationError(f"{bad} faults in {found.documents} documents{hint}")
    if not found.documents:
        raise UsageError("the file holds no documents")
    output.say(f"{found.documents} documents and {len(lines)} receipts hold.")


def _row(line: ReceiptLine) -> dict[str, object]:
    from p2pcompute.identity import names

    body = line.receipt.body
    return {
        "receipt": line.receipt.id.hex(),
        "provider": names.peer_id(line.receipt.signer),
        "requester": names.peer_id(body.requester),
        "n": body.n,
        "manifest": body.manifest.hex(),
        "device_us": body.device_us,
        "energy_mj": body.energy_mj,
        "price": body.price,
        "countersigned": line.countersigned,
        "faults": line.faults,
    }


def receipt_list(*, common: Common = COMMON) -> None:
    """List the receipts this node issued as a provider or holds as a requester."""
    rows = ask(common, lambda node: node.table("receipts"))
    output.put_table(rows, RECEIPT_COLUMNS, as_json=common.json, none="no receipts yet")


def receipt_show(receipt: str, /, *, common: Common = COMMON) -> None:
    """Show one receipt.

    Args:
        receipt: Its id, or the first digits of it.
    """
    rows = ask(common, lambda node: node.table("receipts"))
    output.put_facts(_one(rows, "receipt", receipt), as_json=common.json)


def _one(rows: Iterable[dict[str, object]], key: str, prefix: str) -> dict[str, object]:
    found = [row for row in rows if str(row[key]).startswith(prefix)]
    if len(found) != 1:
        raise UsageError(f"{len(found)} {key}s begin with {prefix[:64]!r}; list them with: p2pcompute {key} list")
    return found[0]


def receipt_verify(file: Path, receipt: str = "", /, *, network: str = "main", options: Json = JSON) -> None:
    """Check one receipt of an evidence file, or all of them; offline.

    Args:
        file: Evidence.
        receipt: The receipt's id, or the first digits of it.
        network: Name of the network the documents were signed for.
    """
    _judge(_audited(file, network), as_json=options.json, only=receipt)


def receipt_export(file: Path, /, *, job: str = "", common: Common = COMMON) -> None:
    """Write signed documents as an evidence file, for anyone to audit.

    Args:
        file: Where to; a file that is there is replaced.
        job: Only the documents of this job [default: all, of both roles].
    """
    from p2pcompute.cli.bundle import write_bundle
    from p2pcompute.cli.jobs import job_id

    documents = ask(common, lambda node: node.bundle(job_id(job) if job else b""))
    if not documents:
        raise UsageError("there are no documents to export yet")
    write_bundle(file, documents)
    output.put_facts({"file": str(file), "documents": len(documents)}, as_json=common.json)
