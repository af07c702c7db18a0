"""docs/security.md rests on rules that exist, and its numbers are computed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from p2pcompute.wire.policy import SAMPLES_DEFAULT
from simnet.invariants.results import win_chance

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "security.md").read_text()
RULE = re.compile(r"\[([A-Z]\d+[a-z]?|\d+\.\d+)\]\((spec/[a-z-]+\.md)\)")
CITED = sorted(set(RULE.findall(TEXT)))


def has_rule(page: str, rule: str) -> bool:
    """Whether a rule of that number begins a line of a page."""
    return re.search(rf"^(- )?{re.escape(rule)}\.? ", (DOCS / page).read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize(("rule", "page"), CITED)
def test_every_rule_that_is_named_exists(rule: str, page: str) -> None:
    assert has_rule(page, rule)


def test_rules_that_do_not_exist_would_be_noticed() -> None:
    assert not has_rule("spec/market.md", "K99")
    assert len(CITED) > 40


def test_no_rule_is_named_without_its_page() -> None:
    plain = RULE.sub("", TEXT)
    assert re.findall(r"\b[A-Z]\d+[a-z]?\b", plain) == []


def rows(head: str) -> list[list[str]]:
    """The cells of the table under this head."""
    found: list[list[str]] = []
    for line in TEXT[TEXT.index(head) :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_odds_of_colluders_are_those_of_the_simulator() -> None:
    policies = (((2, 2), (3, 2)), ((3, 3), (5, 3)), ((5, 4),))
    table = rows("| colluding |")
    assert len(table) == 4
    for colluding, *cells in table:
        for cell, pairs in zip(cells, policies, strict=True):
            assert {f"{100 * win_chance(int(colluding), 100, *pair):.3f}" for pair in pairs} == {cell}


def test_the_chances_of_samples_are_those_of_the_draw() -> None:
    table = rows("| false |")
    assert len(table) == 3
    for false, found in table:
        share = float(false.removesuffix(" %")) / 100
        assert found == f"{100 * (1 - math.pow(1 - share, SAMPLES_DEFAULT)):.1f} %"
    assert f"the {SAMPLES_DEFAULT} that" in TEXT
