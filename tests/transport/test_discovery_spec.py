"""docs/spec/discovery.md says what the code does: its table of limits row by row, its rules without gaps."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

from p2pcompute.transport.relay import RelayLimits

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "discovery.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)` \| ([\d.]+) \| ([\w.]+) \|$", PAGE, re.MULTILINE)


def test_the_table_of_limits_is_the_codes() -> None:
    assert len(ROWS) == PAGE.partition("## Limits")[2].count("\n| `")
    for name, value, module in ROWS:
        if name.islower() and "." not in name:
            found = dataclasses.asdict(RelayLimits())[name]
        else:
            found = getattr(importlib.import_module(f"p2pcompute.{module}"), name.rpartition(".")[2])
        assert float(value) == found, name


def test_every_limit_of_a_relay_is_in_the_table() -> None:
    assert {field.name for field in dataclasses.fields(RelayLimits)} <= {name for name, _, _ in ROWS}


def test_every_limit_stands_in_a_rule() -> None:
    rules = PAGE.partition("## Limits")[0]
    assert not [name for name, _, _ in ROWS if not re.search(rf"\b{re.escape(name)}\b", rules)]


def test_rules_are_numbered_without_gaps() -> None:
    for letter in "NDBPC":
        numbers = [int(n) for n in re.findall(rf"^{letter}(\d+)\. ", PAGE, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert numbers
