from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.churn import churn, leaks

GROWTH_BYTES_MAX = 32 * 2**20


@pytest.mark.nightly
async def test_a_mesh_under_churn_ends_whole_and_no_larger(tmp_path: Path) -> None:
    report = await churn(tmp_path, processes=6, seconds=60, seed=1)
    assert min(report.blows.values()) > 0
    assert not leaks(report.before, report.after), report
    assert report.grown_bytes < GROWTH_BYTES_MAX, report
