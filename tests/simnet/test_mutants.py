"""Planted bugs are caught: some of them here, all of them at night."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator

import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol import verification
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.reservation import Slots
from simnet.mutants.campaign import Mutant, catch, check_trial, verdict_on
from simnet.mutants.command import run
from simnet.mutants.mechanical import FUNCTIONS, LEFT_OUT, mechanical, mutations
from simnet.mutants.patch import planted, rewritten, source_of
from simnet.mutants.planted import PLANTED
from simnet.mutants.trials import TRIALS

BY_NAME = {mutant.name: mutant for mutant in PLANTED}
EXPECTED = {
    "reservation not journaled": "durable-first",
    "cheque taken but not journaled": "value-conserved",
    "a slot's number does not grow": "no-double-booking",
    "the salt is a constant": "nothing-leaks",
    "openings for everybody": "nothing-leaks",
    "credit without end": "debt-bounded",
    "a lease never runs out": "no-task-lost",
    "the epoch of a cheque is ignored": "value-conserved",
    "commitment not journaled": "journal-tells-all",
    "the end of a task not journaled": "no-acknowledged-task-lost",
    "the quorum is off by one": "no-wrong-result",
    "a majority overrules the referee": "no-wrong-result",
    "replicas of one operator": "within-budget",
    "a liar is no liar": "liars-are-out",
    "a true result is outvoted": "no-wrong-result",
    "claims are paid in full": "fair-price",
    "a stop stops nothing": "stop-is-final",
    "no anti-entropy": "books-converge",
    "quotes are never forgotten": "memory-bounded",
    "slices without cheques": "slices-bounded",
    "the last cheque overtakes its part": "paid-once",
    "work at once is not bounded": "work-bounded",
    "a lone claim is paid in full": "fair-price",
    "two receipts of one number pass": "contradictions-told",
    "outsiders compute what is for others": "within-budget",
    "the referee is read backwards": "no-honest-convicted",
    "a straggler is its own backup": "within-budget",
    "candidates of one peer": "several-asked",
    "what is to leave is not journaled": "journal-tells-all",
    "who commits twice is let off": "liars-are-out",
    "the deadline for commitments is not kept": "no-task-lost",
}
"""What catches them, of the fast ones."""


def sightings(mutant: Mutant) -> Iterator[str]:
    """What catches it in each world of its trials."""
    for trial in map(TRIALS.__getitem__, mutant.trials):
        with trial.room(), mutant.plant():
            yield from (by for by, _ in map(verdict_on, trial.worlds()))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_planted_bug_is_caught_by_the_invariant_it_breaks(name: str) -> None:
    assert EXPECTED[name] in sightings(BY_NAME[name])


def test_there_are_at_least_thirty_and_each_has_a_name_a_sentence_and_a_world_of_its_own() -> None:
    assert len({mutant.name for mutant in PLANTED}) == len(PLANTED) >= 30
    assert all(mutant.sentence.endswith(".") and set(mutant.trials) <= set(TRIALS) for mutant in PLANTED)


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_without_a_bug_breaks_nothing(name: str) -> None:
    check_trial(TRIALS[name])


def test_a_mutant_that_changes_nothing_survives() -> None:
    tree = rewritten(Ledger, "refusal", "unpaid >= credit", "credit <= unpaid")
    assert catch(Mutant("no bug", "Nothing.", lambda: planted(Ledger, "refusal", tree), ("calm",))).by == ""


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.name)
def test_a_published_bug_still_has_its_place(mutant: Mutant) -> None:
    with mutant.plant():
        pass


def test_a_mutant_whose_place_is_gone_is_refused() -> None:
    with pytest.raises(UsageError, match="0 times, not once"):
        rewritten(Ledger, "refusal", "no such text", "")
    with pytest.raises(UsageError, match="times, not once"):
        rewritten(Slots, "hold", "slot", "")


def test_afterwards_everything_is_as_before() -> None:
    before = verification.judge
    with planted(verification, "judge", rewritten(verification, "judge", "!=", "==")):
        assert verification.judge is not before
    assert verification.judge is before


def test_a_world_that_hangs_is_caught() -> None:
    spin = rewritten(Slots, "hold", "slot = self", "while True: pass\n    slot = self")
    assert catch(Mutant("spins", "It spins.", lambda: planted(Slots, "hold", spin), ("calm",))).by == "it hangs"


def test_mechanical_mutations_are_all_different_and_all_run() -> None:
    for owner, name in FUNCTIONS:
        texts = [ast.unparse(tree) for _, tree in mutations(owner, name)]
        assert len(set(texts)) == len(texts) > 0
        original = ast.unparse(ast.parse(source_of(owner, name)))
        assert original not in texts
        for _, tree in mutations(owner, name):
            with planted(owner, name, tree):
                pass


def every_mutation() -> set[str]:
    return {
        f"{o.__name__.rpartition('.')[2]}.{n} #{i} {w}"
        for o, n in FUNCTIONS
        for i, (w, _) in enumerate(mutations(o, n))
    }


def test_what_is_left_out_of_the_mechanical_ones_is_one_of_them_and_has_a_reason() -> None:
    every = every_mutation()
    assert set(LEFT_OUT) <= every
    assert all(reason.endswith(".") for reason in LEFT_OUT.values())
    assert {mutant.name for mutant in mechanical()} == every - set(LEFT_OUT)


def test_the_command_counts_what_it_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("salt", as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"planted": 1, "caught": 1}


@pytest.mark.nightly
def test_every_mutant_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("", as_json=True) == 0
    result = json.loads(capsys.readouterr().out)
    assert "survivors" not in result
    assert result["planted"] == result["caught"] > 150
