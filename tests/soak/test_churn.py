from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.soak import chart
from tests.soak.churn import churn, reached
from tests.soak.node import Footprint
from tests.soak.plan import plan
from tests.soak.record import GROWTH_MIB_PER_MIN_MAX, MIB, Report, Sample, leaks

SECONDS = 600.0
PROCESSES = 20
FRESH = Footprint(memory_bytes=60 * MIB, files=30, tasks=60, connections=3)


@pytest.mark.nightly
async def test_a_mesh_under_churn_ends_whole_and_no_larger(tmp_path: Path) -> None:
    report = await churn(tmp_path, processes=PROCESSES, seconds=SECONDS, seed=1)
    assert min(report.blows.values()) > 0
    assert report.defects == []
    assert report.leaks == []
    assert max(report.grown_mib_per_min.values()) < GROWTH_MIB_PER_MIN_MAX, report.lines()


def report(samples: list[Sample], after: Footprint = FRESH) -> Report:
    return Report(SECONDS, {"kill": 1}, 1.0, {0: FRESH}, [after], samples, [], (0,))


def growing(mib_per_min: float) -> list[Sample]:
    return [
        Sample(at_s, 0, dataclasses.replace(FRESH, memory_bytes=int((60 + mib_per_min * at_s / 60) * MIB)))
        for at_s in range(0, 600, 5)
    ]


def test_one_seed_gives_one_plan_in_which_half_of_the_nodes_are_always_there() -> None:
    blows = plan(1, PROCESSES, 3, SECONDS)
    assert blows == plan(1, PROCESSES, 3, SECONDS) != plan(2, PROCESSES, 3, SECONDS)
    assert {blow.kind for blow in blows} == {"kill", "restart", "stop"}
    assert all(blow.kind == "stop" for blow in blows if blow.node >= PROCESSES - 3)
    for blow in blows:
        away = {b.node for b in blows if b.at_s <= blow.at_s < b.at_s + b.pause_s}
        assert len(away) <= PROCESSES // 2


def test_memory_that_grows_on_is_told_from_memory_that_does_not() -> None:
    assert report(growing(0.0)).grown_mib_per_min[0] == pytest.approx(0.0, abs=0.01)
    assert report(growing(2.0)).grown_mib_per_min[0] == pytest.approx(2.0, abs=0.01)


def test_tasks_and_files_that_no_connection_accounts_for_are_leaks() -> None:
    assert not leaks([FRESH], dataclasses.replace(FRESH, tasks=80, files=35, connections=8))
    assert leaks([FRESH], dataclasses.replace(FRESH, tasks=80))
    assert report([], dataclasses.replace(FRESH, files=50)).leaks


def test_a_mesh_in_two_parts_is_not_reached_whole() -> None:
    assert reached({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}) == {"a", "b"}


def test_the_chart_has_a_line_for_every_process() -> None:
    drawn = ElementTree.fromstring(chart.svg(report(growing(1.0))))
    assert len([e for e in drawn if e.tag.endswith("polyline")]) == len(chart.PANES)
