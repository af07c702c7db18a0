"""The page on scale, typed in: every command of it, with networks small enough for a test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.bench import scale_model, traffic

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scale_model, "calibrate", lambda: scale_model.Costs(650.0, 5.0, 800.0))
    measured: list[int] = []

    def smaller(nodes: int, *, join_ms: int, window_ms: int) -> dict[str, float]:
        measured.append(nodes)
        return real(nodes // 20, join_ms=2_000, window_ms=10_000)

    real = traffic.measure
    monkeypatch.setattr(traffic, "measure", smaller)
    commands = [line for text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) for line in text.splitlines()]
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "tests.bench.scale_model"]
        assert scale_model.main(words[3:]) == 0
    assert measured == [1_000]
    assert "1,000,000" in capsys.readouterr().out
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_follows_from_one_simulated_shard() -> None:
    costs = scale_model.calibrate(90)
    assert costs.message_bytes > traffic.FRAME_BYTES
    assert costs.copies >= 1, "a message that comes to everybody crosses a line for each"
    assert scale_model.modelled(costs, 90) > costs.rest_bytes_s > 0


def test_shards_are_cut_so_that_none_of_the_mean_size_is_full() -> None:
    assert [scale_model.depth_of(n) for n in (1, 512, 513, 1_024, 1_025, 10_000)] == [0, 0, 1, 1, 2, 5]
