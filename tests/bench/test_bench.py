"""The benchmarks run and give the figures their goals speak of. What they measure is not asserted anywhere."""

from __future__ import annotations

import pytest

from tests.bench import registry


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.interop_js if name in registry.NEED_JS else ()) for name in registry.NAMES],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # stock py-libp2p leaves sockets open
def test_a_benchmark_gives_every_figure_that_has_a_goal(name: str) -> None:
    benchmark = registry.load(name)
    figures = benchmark.measure(quick=True)
    for key in benchmark.GOALS:
        assert isinstance(figures[key], int | float)


def test_an_unknown_benchmark_is_named() -> None:
    with pytest.raises(KeyError, match="no benchmark 'x'"):
        registry.load("x")
