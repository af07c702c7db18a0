"""The benchmarks run and give the figures their goals speak of. What they measure is not asserted anywhere."""

from __future__ import annotations

from typing import Final

import pytest

from tests.bench import __main__ as command
from tests.bench import progress, ptx, registry, timing
from tests.gpu import client

VERSUS: Final = ("worst_vs_pocl", "worst_vs_numba")


def _marks(name: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.interop_js] if name in registry.NEED_JS else []
    return [*marks, pytest.mark.bench_peers] if name in registry.NEED_PEERS else marks


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_marks(name)) for name in registry.NAMES if name not in registry.NEED_GPU]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # stock py-libp2p leaves sockets open
def test_a_benchmark_gives_every_figure_that_has_a_goal(name: str) -> None:
    benchmark = registry.load(name)
    figures = benchmark.measure(quick=True)
    for key in benchmark.GOALS:
        assert isinstance(figures[key], int | float)


def test_the_engine_is_measured_beside_cpp_alone() -> None:
    figures = ptx.measure_kernels(ptx.QUICK, [], quick=True)
    assert [key for key in ptx.GOALS if key not in figures] == list(VERSUS)
    assert set(registry.rows(registry.load("ptx"), figures)) == set(ptx.QUICK)


def test_the_worst_kernel_beside_each_rival_is_named() -> None:
    seconds = {
        "scan": {"engine": 3.0, "twin": 2.0, "unchecked": 3.0, "pocl": 6.0, "numba": 1.0},
        "fft": {"engine": 1.0, "twin": 2.0, "unchecked": 1.0},
        "sgemm": {"engine": 4.0, "twin": 2.0, "unchecked": 1.0, "pocl": 2.0, "numba": 2.0},
    }
    figures = ptx._figures(seconds, ["pocl", "numba"])
    assert (figures["worst"], figures["worst_kernel"]) == (2.0, "sgemm")
    assert (figures["worst_vs_pocl"], figures["worst_vs_pocl_kernel"]) == (2.0, "sgemm")
    assert (figures["worst_vs_numba"], figures["worst_vs_numba_kernel"]) == (3.0, "scan")
    assert figures["bounds_check_cost"] == pytest.approx(4.0 ** (1 / 3) - 1)
    assert registry.rows(registry.load("ptx"), figures) == {
        "scan": [1.5, 0.5, 3.0, 1.0],
        "fft": [0.5, None, None, 1.0],
        "sgemm": [2.0, 2.0, 2.0, 4.0],
    }


def test_every_way_reports_once_per_round_and_its_median_counts() -> None:
    left, right = iter([3.0, 1.0, 2.0]), iter([9.0, 7.0, 8.0])
    ways = {"left": lambda: next(left), "right": lambda: next(right)}
    assert timing.side_by_side_reported(ways, 3) == {"left": 2.0, "right": 8.0}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.1, 7), (1.0, 5), (9.0, 3)])
def test_short_ways_get_more_rounds(seconds: float, rounds: int) -> None:
    calls: list[float] = []

    def way() -> float:
        calls.append(seconds)
        return seconds

    timing.side_by_side_reported({"way": way}, 3, rounds_max=7, budget_s=5.0)
    assert len(calls) == rounds


def test_steps_are_told_only_to_who_watches() -> None:
    seen: list[str] = []
    progress.step("before")
    with progress.watched(seen.append):
        progress.step("inside")
    progress.step("behind")
    assert seen == ["inside"]


def test_a_benchmark_without_its_peers_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*, quick: bool) -> registry.Figures:
        raise registry.MissingPeerError("There is no numba; type: this")

    monkeypatch.setattr(ptx, "measure", missing)
    assert command.main(["ptx", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.rstrip("\n").splitlines()[-1] == "There is no numba; type: this"


def test_an_unknown_benchmark_is_named() -> None:
    with pytest.raises(KeyError, match="no benchmark 'x'"):
        registry.load("x")


def test_all_goes_on_without_a_gpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "NODES", ())
    monkeypatch.setattr(registry, "NAMES", ("gpu",))
    assert command.main(["--all"]) == 0
    assert command.main(["gpu"]) == 1
    assert capsys.readouterr().err.count("needs an NVIDIA GPU, and this machine has none\n") == 2


def test_what_could_not_be_measured_is_no_miss() -> None:
    assert registry.verdict({"sgemm_ratio": None}, "sgemm_ratio", (">=", 0.7)) == "not measured"
