"""The provider's receipt chain, and what a stranger can check of it offline.

Receipts of one (key, epoch) are numbered and each names the one before; a requester's cheque countersigns one. Two
different receipts with one (key, epoch, n) prove a fork to anyone (equivocation.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.protocol.equivocation import OFFENCES, contradict, contradictions, place_of, prove
from p2pcompute.protocol.reservation import NONE
from p2pcompute.wire import documents as d
from p2pcompute.wire.codec import Verify
from p2pcompute.wire.documents import AnyDocument

BUNDLE_DOCUMENTS_MAX: Final = 1_000_000


def holds(receipt: AnyDocument, verdict: AnyDocument, assignment: AnyDocument, reveal: AnyDocument) -> bool:
    """Whether a provider's answer to a verdict is the receipt that is due."""
    body = receipt.body
    return (
        isinstance(body, d.Receipt)
        and body.verdict == verdict.id
        and body.assignment == assignment.id
        and body.manifest == assignment.body.manifest
        and body.requester == verdict.signer
        and body.price == verdict.body.price
        and (body.output_roots, body.device_us, body.engine)
        == (reveal.body.output_roots, reveal.body.device_us, reveal.body.engine)
    )


class Chain:
    """My own receipts, in order, with the cheque that countersigned each."""

    def __init__(self) -> None:
        self._receipts: dict[bytes, AnyDocument] = {}
        self._head = NONE
        self._cheques: dict[bytes, AnyDocument] = {}

    def next_link(self) -> tuple[int, bytes]:
        """(n, previous) of the next receipt."""
        return len(self._receipts), self._head

    def append(self, receipt: AnyDocument) -> None:
        """The journaled receipt is the chain's new head."""
        self._receipts[receipt.id] = receipt
        self._head = receipt.id

    def get(self, receipt_id: bytes) -> AnyDocument | None:
        return self._receipts.get(receipt_id)

    def receipts(self) -> list[AnyDocument]:
        """All of them, oldest first."""
        return list(self._receipts.values())

    def cheque(self, receipt_id: bytes) -> AnyDocument | None:
        """The cheque that countersigned a receipt, if one came."""
        return self._cheques.get(receipt_id)

    def countersigned(self, receipt_id: bytes) -> bool:
        """Whether a cheque for this receipt is held."""
        return receipt_id in self._cheques

    def countersign(self, cheque: AnyDocument) -> None:
        """The journaled cheque covers one of my receipts."""
        self._cheques[cheque.body.receipt] = cheque


@dataclasses.dataclass(slots=True)
class ReceiptLine:
    """One receipt as an auditor sees it. `faults` is empty when everything that is in the bundle holds."""

    receipt: AnyDocument
    countersigned: bool = False
    faults: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Audit:
    """What a bundle of documents shows."""

    receipts: list[ReceiptLine]
    documents: int
    faults: list[str]

    @property
    def ok(self) -> bool:
        return not self.faults and not any(line.faults for line in self.receipts)


def audit(network: str, raws: Iterable[bytes], verify: Verify) -> Audit:
    """Check every signature in a bundle and every binding between its documents. Needs nothing but public keys."""
    faults: list[str] = []
    by_id, count = _opened(network, raws, verify, faults)
    lines = [ReceiptLine(x) for x in by_id.values() if isinstance(x.body, d.Receipt)]
    cheques = _grouped(by_id, d.Cheque, lambda x: x.body.receipt)
    reveals = _grouped(by_id, d.RootReveal, lambda x: x.body.commitment)
    for line in lines:
        _check_receipt(line, by_id)
        _check_reveals(line, by_id, reveals)
        row = cheques.get(line.receipt.id, [])
        line.countersigned = any(_countersigns(x, line.receipt, row) for x in row)
    told = [x for proof in by_id.values() for x in _told(network, proof, verify, faults)]
    faults += _contradictions([*by_id.values(), *told], {line.receipt.id: line for line in lines})
    heads = [line.receipt for line in lines if not line.receipt.body.n and line.receipt.body.previous != NONE]
    faults += [f"receipt 0 of {x.signer.hex()[:16]} names one before it" for x in heads]
    return Audit(lines, count, faults)


def equivocations(network: str, raws: Iterable[bytes], verify: Verify) -> list[d.EquivocationProof]:
    """What a bundle proves: a proof for each key that signed two of its statements of which only one can be true,
    whether they stand there by themselves or inside of proofs. What does not verify proves nothing."""
    by_id, _ = _opened(network, raws, verify, [])
    told = [x for proof in by_id.values() for x in _told(network, proof, verify, [])]
    found = {pair[0].signer: prove(*pair) for pair in contradictions([*by_id.values(), *told])}
    return list(found.values())


def _opened(
    network: str, raws: Iterable[bytes], verify: Verify, faults: list[str]
) -> tuple[dict[bytes, AnyDocument], int]:
    """The documents that verify, by id, and how many there were."""
    by_id: dict[bytes, AnyDocument] = {}
    count = 0
    for raw in raws:
        count += 1
        if count > BUNDLE_DOCUMENTS_MAX:
            faults.append(f"more than {BUNDLE_DOCUMENTS_MAX} documents")
            break
        try:
            document = d.open_document(network, raw, verify)
        except (DecodeError, SignatureError) as error:
            faults.append(f"document {count}: {error}")
            continue
        by_id[document.id] = document
    return by_id, count


def _grouped(
    by_id: dict[bytes, AnyDocument], schema: type, key: Callable[[AnyDocument], bytes]
) -> dict[bytes, list[AnyDocument]]:
    groups: dict[bytes, list[AnyDocument]] = {}
    for document in by_id.values():
        if isinstance(document.body, schema):
            groups.setdefault(key(document), []).append(document)
    return groups


def _check_receipt(line: ReceiptLine, by_id: dict[bytes, AnyDocument]) -> None:
    body = line.receipt.body
    verdict, assignment = by_id.get(body.verdict), by_id.get(body.assignment)
    if verdict is None or not isinstance(verdict.body, d.Verdict):
        line.faults.append("its verdict is missing")
    else:
        if verdict.signer != body.requester:
            line.faults.append("its verdict is signed by someone else")
        if verdict.body.price != body.price:
            line.faults.append("its price is not the verdict's")
        if verdict.body.judgement not in (d.Judgement.AGREED, d.Judgement.KERNEL_AT_FAULT):
            line.faults.append("its verdict is not in its favour")
        elif verdict.body.agreed_roots != body.output_roots:
            line.faults.append("its outputs are not the agreed ones")
        _check_commitment(line, verdict, by_id)
    if assignment is None or not isinstance(assignment.body, d.Assignment):
        line.faults.append("its assignment is missing")
    elif assignment.body.manifest != body.manifest or assignment.signer != body.requester:
        line.faults.append("its assignment names another task or requester")
    elif body.price > assignment.body.price_ceiling:
        line.faults.append("its price is above the ceiling")


def _countersigns(cheque: AnyDocument, receipt: AnyDocument, row: Iterable[AnyDocument]) -> bool:
    """Whether it is the last cheque for a receipt, and with the parts of other epochs in `row` reaches its price."""
    ends = receipt.body.requester, receipt.signer
    others = [x for x in row if x.epoch != cheque.epoch and (x.signer, x.body.payee) == ends]
    due = receipt.body.price - max((x.body.part for x in others), default=0)
    return bool((cheque.signer, cheque.body.payee) == ends and not cheque.body.part and cheque.body.cumulative >= due)


def _check_reveals(line: ReceiptLine, by_id: dict[bytes, AnyDocument], reveals: dict[bytes, list[AnyDocument]]) -> None:
    body, verdict = line.receipt.body, by_id.get(line.receipt.body.verdict)
    if verdict is None or not isinstance(verdict.body, d.Verdict):
        return
    for reveal in reveals.get(verdict.body.commitment, ()):
        stated = reveal.body.output_roots, reveal.body.device_us, reveal.body.engine
        if reveal.signer == line.receipt.signer and stated != (body.output_roots, body.device_us, body.engine):
            line.faults.append("it does not say what its opening said")


def _check_commitment(line: ReceiptLine, verdict: AnyDocument, by_id: dict[bytes, AnyDocument]) -> None:
    commitment = by_id.get(verdict.body.commitment)
    if commitment is None or not isinstance(commitment.body, d.Commitment):
        line.faults.append("its commitment is missing")
    elif commitment.signer != line.receipt.signer or commitment.body.assignment != line.receipt.body.assignment:
        line.faults.append("its commitment is another provider's or another task's")


def _told(network: str, proof: AnyDocument, verify: Verify, faults: list[str]) -> list[AnyDocument]:
    """The two statements of a proof of equivocation; a fault when they are none."""
    if not isinstance(proof.body, d.EquivocationProof):
        return []
    try:
        pair = [d.open_document(network, raw, verify) for raw in (proof.body.first, proof.body.second)]
    except (DecodeError, SignatureError) as error:
        faults.append(f"a proof of equivocation holds no two statements: {error}")
        return []
    if not contradict(*pair):
        faults.append("a proof of equivocation whose statements do not contradict each other")
    return pair


def _contradictions(documents: Iterable[AnyDocument], lines: dict[bytes, ReceiptLine]) -> list[str]:
    """Who signed two statements of which only one can be true, and what it did."""
    faults: dict[str, None] = {}
    for other, document in contradictions(documents):
        place = place_of(document)
        assert place is not None
        where = place.chain[1].hex()[:16] if isinstance(place.chain[1], bytes) else f"number {place.n}"
        faults[f"{document.signer.hex()[:16]} {OFFENCES[type(document.body)]} ({where})"] = None
        for line in (lines[x.id] for x in (other, document) if x.id in lines):
            line.faults.append("its signer forked the chain here")
    return list(faults)
