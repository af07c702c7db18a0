"""The steps of a task, and what its states hold."""

from __future__ import annotations

import msgspec
import pytest

from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Buffer, Launch, Manifest, Role
from p2pcompute.wire.steps import launch_of, snapshot_fault, state_buffers, step_count


def task(*repeats: int, size: int = 8) -> Manifest:
    buffers = tuple(Buffer(role.name, "u8", (size,), role) for role in (Role.OUT, Role.IN, Role.TEMP, Role.INOUT))
    launches = tuple(Launch("k", (1, 1, 1), (1, 1, 1), (), 0, times) for times in repeats)
    return Manifest("t", "", (), bytes(32), 1, buffers, launches, 1, 1)


def test_repeats_are_steps_of_the_same_launch() -> None:
    made = task(2, 1, 3)
    assert step_count(made) == 6
    assert [launch_of(made, step) for step in range(6)] == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("step", [-1, 6])
def test_a_step_that_does_not_exist_has_no_launch(step: int) -> None:
    with pytest.raises(IndexError):
        launch_of(task(2, 1, 3), step)


def test_a_task_that_sets_variables_keeps_no_states() -> None:
    made = msgspec.structs.replace(task(1), constants=(("c", "IN"),))
    assert "sets variables" in snapshot_fault(made)


def test_a_task_that_repeats_until_something_is_zero_keeps_no_states() -> None:
    made = task(1)
    made = msgspec.structs.replace(made, launches=(msgspec.structs.replace(made.launches[0], until="OUT"),))
    assert "until a buffer is zero" in snapshot_fault(made)


def test_a_state_holds_every_buffer_but_pure_inputs() -> None:
    assert state_buffers(task(1)) == (0, 2, 3)


def test_states_are_kept_up_to_both_limits() -> None:
    most = limits.SNAPSHOT_BYTES_MAX // limits.SNAPSHOT_STEPS_MAX // 3
    assert snapshot_fault(task(limits.SNAPSHOT_STEPS_MAX, size=most)) == ""
    assert "65 steps" in snapshot_fault(task(limits.SNAPSHOT_STEPS_MAX, 1, size=most))
    assert "bytes" in snapshot_fault(task(limits.SNAPSHOT_STEPS_MAX, size=most + 1))
