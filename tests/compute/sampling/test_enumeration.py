"""The provers against the truth: every small kernel under many launches, each block's accesses logged.

A verdict is never wrong: what is called independent is, and the writer map names the block that stores each byte.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.sampling import Tier, eligibility
from p2pcompute.compute.sampling.writers import writer_map
from p2pcompute.errors import UsageError
from tests.compute.sampling.conftest import SOURCE, alone
from tests.compute.sampling.truth import Setup, logged, setup, truth

NAMES = re.findall(r"^K (\w+)", SOURCE.read_text(), re.MULTILINE)
SHAPES = (((5, 1, 1), (32, 1, 1)), ((3, 2, 1), (8, 4, 1)), ((2, 2, 2), (4, 4, 2)))
SCALARS = ((64, 24), (100, 3), (37, 40))
WORDS = 8192


def launches(module: ptx.Module, name: str) -> Iterator[Setup]:
    rng = np.random.default_rng(5)
    for (grid, block), (n, m) in itertools.product(SHAPES, SCALARS):
        a, b = (rng.uniform(-1, 60, WORDS).astype(np.float32) for _ in range(2))
        yield setup(module, name, grid, block, [a, b, np.int32(n), np.int32(m)])


def verdict(case: Setup) -> tuple[Tier, bool]:
    """The tier, after checking everything that was said against the log; and whether blocks are disjoint."""
    said = eligibility(case.module, case.launch.entry, case.launch)
    log = logged(case)
    if log.result.status is not ptx.Status.OK:
        return said.tier, False
    real = truth(case, log)
    if said.is_proven:
        assert real.is_disjoint, f"{case.launch}: {said.tier}, but blocks meet"
    try:
        found = writer_map(case.module, case.launch, case.sizes, threads=1, abort=ptx.Abort())
    except UsageError:
        assert said.tier is not Tier.MAP
        return said.tier, real.is_disjoint
    assert found.result.status is ptx.Status.OK, found.result.trap
    if said.tier is not Tier.NONE:
        assert found.is_proof == real.is_disjoint, (case.launch, said.tier, found.conflicts)
    for buffer, words in found.words.items():
        granule = found.granules[buffer]
        wanted = real.writers[buffer]
        if real.is_disjoint:
            np.testing.assert_array_equal(np.repeat(words.astype(np.int64) - 1, granule)[: wanted.size], wanted)
        else:
            np.testing.assert_array_equal((np.repeat(words, granule) > 0)[: wanted.size], wanted >= 0)
    return said.tier, real.is_disjoint


@pytest.mark.parametrize("name", NAMES)
def test_no_verdict_contradicts_the_log(kernels: ptx.Module, name: str) -> None:
    cases = list(launches(alone(kernels, name), name))
    assert len([verdict(case) for case in cases]) == len(SHAPES) * len(SCALARS)
