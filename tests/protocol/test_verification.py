"""Rules V1 to V6 and V8 of docs/spec/verification.md."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import verification as v
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import Policy
from tests.protocol.stage import MANIFEST

replace: Any = msgspec.structs.replace
OPENING = d.RootReveal(b"c" * 32, b"s" * 32, "cpu", "exact", d.OutcomeStatus.OK, (b"y" * 32,), 1_000, "")
ASSIGNMENT = d.Assignment(
    b"r" * 32, b"m" * 32, b"b" * 32, 100, 1_000_000, 0, 100, 1_000_000, 10**12, Policy(), b"n" * 32
)  # fmt: skip


def commit(opening: d.RootReveal = OPENING, **changes: Any) -> bytes:
    given_: dict[str, Any] = {"assignment": b"a" * 32, "manifest_id": b"m" * 32, "manifest": MANIFEST, **changes}
    return v.commitment_root(given_["assignment"], given_["manifest_id"], given_["manifest"], opening)


def test_a_commitment_binds_everything_it_speaks_of() -> None:
    x, y = MANIFEST.buffers
    others = [
        commit(assignment=b"b" * 32),
        commit(manifest_id=b"n" * 32),
        commit(manifest=replace(MANIFEST, ptx_root=b"q" * 32)),
        commit(manifest=replace(MANIFEST, buffers=(replace(x, root=b"z" * 32), y))),
        commit(replace(OPENING, salt=b"t" * 32)),
        commit(replace(OPENING, engine="gpu")),
        commit(replace(OPENING, numeric_class="other")),
        commit(replace(OPENING, status=d.OutcomeStatus.TRAP)),
        commit(replace(OPENING, output_roots=(b"z" * 32,))),
        commit(replace(OPENING, output_roots=())),
        commit(replace(OPENING, device_us=1_001)),
        commit(replace(OPENING, states=((b"y" * 32,),))),
        commit(replace(OPENING, states=((b"y" * 32,), (b"y" * 32,)))),
        commit(replace(OPENING, states=((b"y" * 32, b"y" * 32),))),
    ]
    assert len({commit(), *others}) == len(others) + 1


def test_a_commitment_does_not_bind_its_own_id_nor_the_words_of_a_reason() -> None:
    assert commit(replace(OPENING, commitment=b"d" * 32, reason="thread 7")) == commit()


def test_engine_and_class_cannot_borrow_letters_from_each_other() -> None:
    shifted = commit(replace(OPENING, engine="cpu\x00exact", numeric_class="fma"))
    assert commit(replace(OPENING, engine="cpu", numeric_class="exact\x00fma")) != shifted


def test_the_salt_is_the_same_after_a_crash_and_differs_between_assignments_and_nodes() -> None:
    assert v.salt_of(b"k" * 32, b"a") == v.salt_of(b"k" * 32, b"a")
    assert len({v.salt_of(b"k" * 32, b"a"), v.salt_of(b"k" * 32, b"b"), v.salt_of(b"l" * 32, b"a")}) == 3


@pytest.mark.parametrize(
    ("status", "roots", "fault"),
    [
        (d.OutcomeStatus.OK, 1, False),
        (d.OutcomeStatus.OK, 0, True),
        (d.OutcomeStatus.OK, 2, True),
        (d.OutcomeStatus.TRAP, 0, False),
        (d.OutcomeStatus.TRAP, 1, True),
        (d.OutcomeStatus.TIMEOUT, 0, False),
    ],
)
def test_an_opening_names_as_many_roots_as_the_task_has_outputs(
    status: d.OutcomeStatus, roots: int, fault: bool
) -> None:
    opening = replace(OPENING, status=status, output_roots=(b"y" * 32,) * roots)
    assert bool(v.opening_fault(opening, MANIFEST, Policy())) is fault


def votes(text: str) -> list[tuple[bytes, d.RootReveal]]:
    """'1a 2b': operator 1 says a, operator 2 says b; 'T' is a trap."""
    rows = []
    for operator, answer in text.split():
        trap = answer == "T"
        status = d.OutcomeStatus.TRAP if trap else d.OutcomeStatus.OK
        roots = () if trap else (answer.encode() * 32,)
        rows.append((operator.encode(), replace(OPENING, status=status, output_roots=roots)))
    return rows


@pytest.mark.parametrize(
    ("text", "quorum", "agreed", "best"),
    [
        ("", 1, None, 0),
        ("1a", 1, "a", 1),
        ("1a", 2, None, 1),
        ("1a 2a", 2, "a", 2),
        ("1a 1a", 2, None, 1),
        ("1a 2b", 2, None, 1),
        ("1a 2b 3b", 2, "b", 2),
        ("1T 2T 3a", 2, "T", 2),
        ("1a 2a 3b 4b", 2, None, 2),
        ("1a 2b", 1, None, 1),
        ("1a 2a 3b 4b 5b", 2, "b", 3),
    ],
)
def test_a_quorum_of_operators_ahead_of_all_others_agrees(
    text: str, quorum: int, agreed: str | None, best: int
) -> None:
    count = v.tally(votes(text), quorum)
    expected = None if agreed is None else v.answer_of(votes("1" + agreed)[0][1])
    assert (count.agreed, count.best) == (expected, best)


@given(st.permutations(votes("1a 2a 3b 4T 5T 6T")))
def test_the_order_of_votes_does_not_matter(row: list[tuple[bytes, d.RootReveal]]) -> None:
    assert v.tally(row, 3) == v.tally(votes("1a 2a 3b 4T 5T 6T"), 3)


@pytest.mark.parametrize(
    ("mine", "agreed", "judgement"),
    [
        ("a", "a", d.Judgement.AGREED),
        ("a", "b", d.Judgement.OUTVOTED),
        ("T", "T", d.Judgement.KERNEL_AT_FAULT),
        ("a", "T", d.Judgement.OUTVOTED),
        ("T", "a", d.Judgement.OUTVOTED),
    ],
)
def test_a_replica_is_judged_by_the_agreed_answer(mine: str, agreed: str, judgement: d.Judgement) -> None:
    opening, answer = votes("1" + mine)[0][1], v.answer_of(votes("1" + agreed)[0][1])
    assert v.judge(opening, answer) is judgement


VERDICT = d.Verdict(b"c" * 32, d.Judgement.AGREED, OPENING.output_roots, 2, 500)
TRAPPED = replace(OPENING, status=d.OutcomeStatus.TRAP, output_roots=())


@pytest.mark.parametrize(
    ("verdict", "opening", "fault"),
    [
        (VERDICT, OPENING, ""),
        (replace(VERDICT, price=99), OPENING, "price"),
        (replace(VERDICT, price=1_000_001), OPENING, "price"),
        (replace(VERDICT, agreed_roots=(b"z" * 32,)), OPENING, "roots"),
        (replace(VERDICT, judgement=d.Judgement.KERNEL_AT_FAULT), OPENING, "outcome"),
        (replace(VERDICT, judgement=d.Judgement.KERNEL_AT_FAULT, agreed_roots=()), TRAPPED, ""),
        (replace(VERDICT, agreed_roots=()), TRAPPED, "outcome"),
    ],
)
def test_a_provider_accepts_a_verdict_that_fits_what_it_did(
    verdict: d.Verdict, opening: d.RootReveal, fault: str
) -> None:
    assert fault in v.verdict_fault(verdict, opening, ASSIGNMENT, 10**9)
    assert bool(fault) == bool(v.verdict_fault(verdict, opening, ASSIGNMENT, 10**9))


def test_a_provider_accepts_no_price_below_that_of_the_bytes_it_moved() -> None:
    assignment = replace(ASSIGNMENT, price_per_gb=200)
    assert v.verdict_fault(replace(VERDICT, price=599), OPENING, assignment, 3 * 10**9)
    assert not v.verdict_fault(replace(VERDICT, price=600), OPENING, assignment, 3 * 10**9)


def test_the_nonce_commitment_hides_the_nonce_and_survives_a_crash() -> None:
    nonce = v.nonce_of(b"k" * 32, b"r", b"j")
    assert v.nonce_of(b"k" * 32, b"r", b"j") == nonce != v.nonce_of(b"k" * 32, b"s", b"j")
    assert nonce != v.nonce_of(b"k" * 32, b"r", b"k"), "two jobs on one lease"
    assert nonce != v.nonce_commitment(nonce) != v.nonce_commitment(b"n" * 32)
