"""The functions of p2pmath.h: the GPU's bits are the CPU engine's, over all magnitudes, NaN and infinities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests import compute
from tests.gpu import compiling, tasks
from tests.gpu.client import Place, Worker
from tests.gpu.conftest import Note
from tests.gpu.tasks import Array, Task

FOLDER = Path(compute.__file__).parent
THREADS = 256
COUNT, FAKE_COUNT = 1 << 20, 1 << 12


def numbers(kind: np.dtype[np.floating], count: int, seed: int) -> Array:
    """A third any bits at all, a third of middling size, a third small, and what is special."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << (8 * kind.itemsize - 1), count, np.uint64) * 2 + rng.integers(0, 2, count, np.uint64)
    found = bits.astype(f"u{kind.itemsize}").view(kind)
    found[count // 3 : 2 * count // 3] = rng.uniform(-800, 800, 2 * count // 3 - count // 3)
    found[2 * count // 3 :] = rng.uniform(-2, 2, count - 2 * count // 3)
    found[:8] = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, np.finfo(kind).smallest_subnormal]
    return found


@pytest.mark.parametrize(("source", "kind"), [("math_float.cu", np.float32), ("math_double.cu", np.float64)])
def test_mathematical_functions_give_the_same_bits(
    worker: Worker, place: Place, note: Note, source: str, kind: type[np.floating]
) -> None:
    text = compiling.canonical(source, (FOLDER / source).read_text(encoding="utf-8"))
    count = COUNT if place.is_real else FAKE_COUNT
    entries = ptx.parse(text).entries
    differing: dict[str, str] = {}
    for entry in sorted(entries) if place.is_real else sorted(entries)[::5]:
        names = [f"x{number}" for number in range(len(entries[entry].parameters))]
        given = {name: numbers(np.dtype(kind), count, seed) for seed, name in enumerate(names)}
        given[names[-1]] = np.zeros(count, kind)
        roles = dict.fromkeys(names, Role.IN) | {names[-1]: Role.OUT}
        task = Task(entry, text, entry, (count // THREADS, 1, 1), (THREADS, 1, 1), given, roles)
        result = worker.run(task)
        assert (result.status, result.reason) == (JobStatus.OK, "")
        difference = task.difference(task.shaped(result.outputs), tasks.on_cpu(task))
        if difference:
            differing[entry] = difference
    note(source, {"functions": len(entries), "numbers": count, "differing": differing})
    assert differing == {}
