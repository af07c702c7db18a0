"""The steps of a task: its launches one after the other, each as often as it repeats; and the states between them.

State 0 is what the task starts from, state i + 1 what step i leaves. A state is the bytes of every buffer that a task
may change: all but pure inputs, in the manifest's order.
"""

from __future__ import annotations

from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest


def step_count(manifest: Manifest) -> int:
    """At least 1."""
    return sum(launch.repeats for launch in manifest.launches)


def launch_of(manifest: Manifest, step: int) -> int:
    """The number of the launch that a step runs. Raises IndexError for a step that does not exist."""
    end = 0
    for number, launch in enumerate(manifest.launches):
        end += launch.repeats
        if 0 <= step < end:
            return number
    raise IndexError(f"there is no step {step}")


def state_buffers(manifest: Manifest) -> tuple[int, ...]:
    """Places in the manifest of the buffers that make up a state, ascending."""
    return tuple(number for number, buffer in enumerate(manifest.buffers) if not buffer.is_pure_input)


def snapshot_fault(manifest: Manifest) -> str:
    """Why the states of this task cannot all be kept, as a sentence; empty when they can."""
    if manifest.constants:
        return "the task sets variables, which are no part of a state: single blocks of it cannot be recomputed"
    if any(launch.until for launch in manifest.launches):
        return "the task repeats a launch until a buffer is zero: how many states it has shows only then"
    steps = step_count(manifest)
    if steps > limits.SNAPSHOT_STEPS_MAX:
        return f"the task has {steps} steps; the states of at most {limits.SNAPSHOT_STEPS_MAX} are kept"
    roots = steps * len(state_buffers(manifest))
    if roots > limits.STATE_ROOTS_MAX:
        return (
            f"the states after all steps have {roots} buffers; the roots of at most {limits.STATE_ROOTS_MAX} are kept"
        )
    total = steps * sum(manifest.buffers[number].size_bytes for number in state_buffers(manifest))
    if total > limits.SNAPSHOT_BYTES_MAX:
        return f"the states after all steps take {total} bytes; at most {limits.SNAPSHOT_BYTES_MAX} are kept"
    return ""
