"""What a requester does while candidates from other shards are on their way."""

from __future__ import annotations

import pytest

from p2pcompute.protocol.candidates import Candidates
from p2pcompute.protocol.machine import Effect, Find, SetTimer
from p2pcompute.protocol.recruiting import PULL_MS
from tests.protocol.stage import Actor, Stage, at_rest


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Books are not everybody's: there are other shards."""
    monkeypatch.setattr(Candidates, "has_all", False)


def asked(stage: Stage, requester: Actor) -> list[Effect]:
    """What was asked of the network at the moment of submitting."""
    found: list[Effect] = []

    def note(effect: Effect) -> Effect:
        found.append(effect)
        return effect

    requester.mangle = note  # type: ignore[method-assign]
    stage.submit(requester)
    return found


def test_with_few_known_the_job_waits_for_candidates_but_not_for_ever() -> None:
    stage = Stage()
    stage.providers(5)
    requester = stage.actor("buyer")
    effects = asked(stage, requester)
    assert [e for e in effects if isinstance(e, Find)]
    assert [e.at_mono_ms for e in effects if isinstance(e, SetTimer) and "job.rest" in e.key] == [PULL_MS]
    stage.settle()
    assert not requester.event("job.probing")
    stage.run(lambda: at_rest(requester))
    assert requester.event("job.done")


def test_with_many_known_these_are_probed_while_candidates_come() -> None:
    stage = Stage()
    stage.providers(40)
    requester = stage.actor("buyer")
    assert [e for e in asked(stage, requester) if isinstance(e, Find)]
    stage.settle()
    (probing,) = requester.event("job.probing")
    assert len(probing.fields["peers"]) == 16  # type: ignore[arg-type]
    assert stage.mono_ms == 0
