"""Every target under atheris. The number of inputs is fixed, and so is the seed; a second or two of each in CI."""

from __future__ import annotations

import importlib.util

import pytest

from tests.fuzz import guided
from tests.fuzz.target import NAMES

RUNS = 2_000
RUNS_NIGHTLY = 1_000_000
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris comes for Linux on x86-64 only; test_random feeds the same targets everywhere",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_thousand_guided_inputs_find_no_defect(name: str) -> None:
    assert guided.run(name, RUNS) >= RUNS


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_a_million_guided_inputs_find_no_defect(name: str) -> None:
    assert guided.run(name, RUNS_NIGHTLY) >= RUNS_NIGHTLY
