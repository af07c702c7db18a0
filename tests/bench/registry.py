"""Which benchmarks there are, and how a figure compares with its goal."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

NAMES: Final = (
    "ingest",
    "book",
    "gossip",
    "blobs",
    "ptx",
    "startup",
    "journal",
    "simnet",
    "hosts",
    "sampling",
    "verify",
    "market",
    "gpu",
)
NEED_JS: Final = ("gossip",)
"""Those that compare with js-libp2p: ./dev bench installs it."""
NEED_PEERS: Final = ("ptx",)
"""Those that compare with PoCL and numba: ./dev bench installs them."""
NEED_GPU: Final = ("gpu",)
"""Those that say in one sentence that there is no GPU: --all leaves them out there, and says so."""
COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}

Figures = dict[str, object]


class MissingPeerError(Exception):
    """What a benchmark compares with is not installed; the text says what to type."""


class Benchmark(Protocol):
    """What a benchmark's module holds. It may also hold `BESIDE`: prefixes of figures, and the title of the column in
    which a second table shows them.
    """

    GOALS: Mapping[str, tuple[str, float]]

    def measure(self, *, quick: bool) -> Figures:
        """The figures; `quick` is for the tests of the benchmark itself and means nothing as a measurement."""


def rows(benchmark: Benchmark, figures: Figures) -> dict[str, list[float | None]]:
    """Figures that belong side by side: for each name, one per prefix of the benchmark's `BESIDE`, if it has that."""
    prefixes = list(getattr(benchmark, "BESIDE", {}))
    found: dict[str, list[float | None]] = {}
    for at, prefix in enumerate(prefixes):
        for key, value in figures.items():
            if key.startswith(prefix):
                assert isinstance(value, int | float)
                found.setdefault(key.removeprefix(prefix), [None] * len(prefixes))[at] = value
    return found


def load(name: str) -> Benchmark:
    """Raises KeyError for an unknown name."""
    if name not in NAMES:
        raise KeyError(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    return cast(Benchmark, importlib.import_module(f"tests.bench.{name}"))


def verdict(figures: Figures, key: str, goal: tuple[str, float]) -> str:
    """`met` or `missed`, or `not measured` where a benchmark says that it could not."""
    value = figures[key]
    if value is None:
        return "not measured"
    assert isinstance(value, int | float)
    return "met" if COMPARISONS[goal[0]](value, goal[1]) else "missed"
