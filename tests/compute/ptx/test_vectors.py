"""The conformance table in files says what the engine does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from p2pcompute.compute import ptx
from tests.compute.ptx import conformance, vectors
from tests.compute.ptx.conformance import ROWS
from tests.compute.ptx.running import run


def test_a_file_is_all_that_an_engine_needs(tmp_path: Path) -> None:
    vectors.write(tmp_path, conformance.groups()[:2])
    for group in json.loads((tmp_path / "index.json").read_text()):
        with np.load(tmp_path / f"{group['name']}.npz", allow_pickle=False) as data:
            operands = [data[f"in{n}"].copy() for n in range(sum(name.startswith("in") for name in data.files))]
            expected, mask = data["expected"], data["mask"]
        got = np.zeros((len(group["cases"]), ROWS), np.uint64)
        module = ptx.parse((tmp_path / f"{group['name']}.ptx").read_text())
        run(ptx.compile_entry(module, group["entry"], tuple(group["block"])), tuple(group["grid"]), *operands, got)
        assert not np.any((got ^ expected) & mask[:, None])
