"""The receipt chain, and what an auditor finds when somebody has touched it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import receipts
from p2pcompute.protocol.receipts import Chain, audit
from p2pcompute.protocol.reservation import NONE
from p2pcompute.wire import documents as d
from tests.protocol.stage import NETWORK, WALL_MS, Actor, Stage, verify_once

Bundle = list[d.AnyDocument]


class Case:
    """Two finished jobs with two providers, and everybody's keys to forge with."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.providers = self.stage.providers(2)
        self.requester: Actor = self.stage.actor("requester")
        self.bundle: Bundle = []
        for job in (b"1" * 16, b"2" * 16):
            self.stage.play(self.requester, job=job)
            held = self.requester.core.requester.jobs.get(job)
            assert held is not None
            self.bundle += [d.open_document(NETWORK, raw, verify_once) for raw in held.evidence()]
        self.keys: dict[bytes, KeyPair] = {a.peer: a.key for a in self.stage.actors.values()}

    def of(self, schema: type[msgspec.Struct], index: int = 0) -> d.AnyDocument:
        return [x for x in self.bundle if isinstance(x.body, schema)][index]

    def again(self, document: d.AnyDocument, *, key: KeyPair | None = None, **changes: Any) -> d.AnyDocument:
        """The document with another body, honestly signed."""
        key = key or self.keys[document.signer]
        author = d.Author(NETWORK, key.public, document.epoch, key.sign)
        author.seen(document.sequence)
        lifetime_ms = document.expires_at - document.issued_at
        return author.write(
            document.issued_at, msgspec.structs.replace(document.body, **changes), lifetime_ms=lifetime_ms
        )

    def with_receipt(self, **changes: Any) -> Bundle:
        """The bundle with its first receipt replaced by another of the same signer."""
        old = self.of(d.Receipt)
        return [self.again(old, **changes) if x is old else x for x in self.bundle]

    def without(self, schema: type[msgspec.Struct]) -> Bundle:
        old = self.of(schema)
        return [x for x in self.bundle if x is not old]

    def with_other(self, schema: type[msgspec.Struct], *, key: KeyPair | None = None, **changes: Any) -> Bundle:
        """The bundle with a document and the chain that leads from it to the receipt written anew."""
        old = self.of(schema)
        new = self.again(old, key=key, **changes)
        swapped = {old.id: new}
        for later, field in ((d.Commitment, "assignment"), (d.Verdict, "commitment"), (d.Receipt, "verdict")):
            x = self.of(later)
            if later is not schema and getattr(x.body, field) in swapped:
                links: dict[str, Any] = {field: swapped[getattr(x.body, field)].id}
                if later is d.Receipt and x.body.assignment in swapped:
                    links["assignment"] = swapped[x.body.assignment].id
                swapped[x.id] = self.again(x, **links)
        return [swapped.get(x.id, x) for x in self.bundle]


CASE = Case()
ROOT = b"?" * 32


def raws(bundle: Bundle) -> list[bytes]:
    return [x.raw for x in bundle]


def faults(bundle: Bundle) -> list[str]:
    found = audit(NETWORK, raws(bundle), verify_once)
    return [*found.faults, *(fault for line in found.receipts for fault in line.faults)]


def test_an_untouched_bundle_holds_and_every_receipt_is_countersigned() -> None:
    found = audit(NETWORK, raws(CASE.bundle), verify_once)
    assert found.ok
    assert found.documents == len(CASE.bundle) == 24
    assert [line.countersigned for line in found.receipts] == [True] * 4


def test_the_order_of_a_bundle_does_not_matter() -> None:
    assert audit(NETWORK, raws(CASE.bundle)[::-1], verify_once).ok


TAMPERED: dict[str, tuple[Callable[[], Bundle], str]] = {
    "no verdict": (lambda: CASE.without(d.Verdict), "its verdict is missing"),
    "no assignment": (lambda: CASE.without(d.Assignment), "its assignment is missing"),
    "no commitment": (lambda: CASE.without(d.Commitment), "its commitment is missing"),
    "another price": (lambda: CASE.with_receipt(price=1), "its price is not the verdict's"),
    "other outputs": (lambda: CASE.with_receipt(output_roots=(ROOT,)), "its outputs are not the agreed ones"),
    "another task": (lambda: CASE.with_receipt(manifest=ROOT), "its assignment names another task or requester"),
    "more time": (lambda: CASE.with_receipt(device_us=10**9), "it does not say what its opening said"),
    "another requester": (lambda: CASE.with_receipt(requester=ROOT), "its verdict is signed by someone else"),
    "price above the ceiling": (
        lambda: CASE.with_other(d.Assignment, price_ceiling=100),
        "its price is above the ceiling",
    ),
    "own verdict": (
        lambda: CASE.with_other(d.Verdict, key=CASE.providers[0].key),
        "its verdict is signed by someone else",
    ),
    "outvoted": (
        lambda: CASE.with_other(d.Verdict, judgement=d.Judgement.OUTVOTED),
        "its verdict is not in its favour",
    ),
    "another's commitment": (
        lambda: CASE.with_other(d.Commitment, key=CASE.providers[1].key),
        "its commitment is another provider's or another task's",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_each_kind_of_tampering_is_found(how: str) -> None:
    forge, sentence = TAMPERED[how]
    assert sentence in faults(forge())


def test_any_altered_byte_is_found() -> None:
    receipt = CASE.of(d.Receipt)
    for at in range(0, len(receipt.raw), 7):
        raw = receipt.raw[:at] + bytes([receipt.raw[at] ^ 1]) + receipt.raw[at + 1 :]
        found = audit(NETWORK, [raw if x is receipt else x.raw for x in CASE.bundle], verify_once)
        assert found.faults


def test_a_bundle_of_another_network_does_not_hold() -> None:
    assert len(audit("elsewhere", raws(CASE.bundle), verify_once).faults) == len(CASE.bundle)


def test_a_forked_chain_is_found() -> None:
    first = CASE.of(d.Receipt)
    fork = CASE.again(first, energy_mj=5)
    told = f"{first.signer.hex()[:16]} forked its chain of receipts (number 0)"
    assert told in faults([*CASE.bundle, fork])
    lines = {x.receipt.id: x.faults for x in audit(NETWORK, raws([*CASE.bundle, fork]), verify_once).receipts}
    assert all("its signer forked the chain here" in lines[x.id] for x in (first, fork))


def test_two_commitments_for_one_assignment_are_found() -> None:
    first = CASE.of(d.Commitment)
    told = f"{first.signer.hex()[:16]} made two commitments for one assignment ({first.body.assignment.hex()[:16]})"
    assert told in faults([*CASE.bundle, CASE.again(first, root=ROOT)])
    assert told not in faults(CASE.bundle)


def told_by(signer: bytes, first: bytes, second: bytes) -> d.AnyDocument:
    author = d.Author(NETWORK, signer, bytes(8), CASE.keys[signer].sign)
    return author.write(WALL_MS, d.EquivocationProof(first, second), lifetime_ms=1_000)


def test_a_proof_of_equivocation_names_whom_it_convicts_and_must_hold() -> None:
    first = CASE.of(d.Commitment)
    other = CASE.again(first, root=ROOT)
    proof = told_by(first.signer, *(x.raw for x in sorted((first, other), key=lambda x: x.id)))
    assert any("made two commitments" in fault for fault in faults([proof]))
    empty = told_by(first.signer, first.raw, CASE.of(d.Receipt).raw)
    assert "a proof of equivocation whose statements do not contradict each other" in faults([empty])
    junk = told_by(first.signer, b"", first.raw)
    assert any(fault.startswith("a proof of equivocation holds no two statements") for fault in faults([junk]))


def test_a_receipt_that_does_not_follow_the_one_before_is_found() -> None:
    second = next(x for x in CASE.bundle if isinstance(x.body, d.Receipt) and x.body.n == 1)
    moved = [CASE.again(x, previous=ROOT) if x is second else x for x in CASE.bundle]
    assert any("forked its chain of receipts (number " in fault for fault in faults(moved))


def test_a_first_receipt_that_names_an_earlier_one_is_found() -> None:
    assert any("names one before it" in fault for fault in faults(CASE.with_receipt(previous=ROOT)))


@pytest.mark.parametrize("changes", [{"cumulative": 1}, {"payee": ROOT}, {"receipt": ROOT}])
def test_a_cheque_that_does_not_pay_countersigns_nothing(changes: dict[str, Any]) -> None:
    old = CASE.of(d.Cheque)
    bundle = [CASE.again(x, **changes) if x is old else x for x in CASE.bundle]
    lines = {line.receipt.id: line for line in audit(NETWORK, raws(bundle), verify_once).receipts}
    assert not lines[old.body.receipt].countersigned


def test_an_unpaid_receipt_holds_without_a_countersignature() -> None:
    found = audit(NETWORK, [x.raw for x in CASE.bundle if not isinstance(x.body, d.Cheque)], verify_once)
    assert found.ok
    assert not any(line.countersigned for line in found.receipts)


def test_junk_in_a_bundle_is_counted_and_named() -> None:
    found = audit(NETWORK, [*raws(CASE.bundle), b"junk"], verify_once)
    assert found.faults[0].startswith("document 25: ")


def test_a_bundle_is_read_to_its_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "BUNDLE_DOCUMENTS_MAX", 3)
    assert "more than 3 documents" in audit(NETWORK, raws(CASE.bundle), verify_once).faults


def test_a_chain_links_and_remembers_who_paid() -> None:
    chain, first, cheque = Chain(), CASE.of(d.Receipt), CASE.of(d.Cheque)
    assert chain.next_link() == (0, NONE)
    chain.append(first)
    assert chain.next_link() == (1, first.id)
    assert chain.get(first.id) is first
    assert chain.receipts() == [first]
    assert not chain.countersigned(first.id)
    chain.countersign(cheque)
    assert chain.countersigned(cheque.body.receipt)
