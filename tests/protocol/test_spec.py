"""The pages of docs/spec say what the code does: tables row by row, limits by their names, rules without gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pcompute.protocol import (
    bidding,
    core,
    desk,
    equivocation,
    hiring,
    leasing,
    ledger,
    provider,
    recruiting,
    reputation,
    requester,
    session,
    settlement,
    settling,
)
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.engagement import TRANSITIONS, VERDICT_WAIT_MS
from p2pcompute.protocol.job import JOB, REPLICA
from p2pcompute.protocol.lease import CAPS, LEASE
from p2pcompute.protocol.matching import CONSTRAINTS
from p2pcompute.wire import limits

SPEC = Path(__file__).parents[2] / "docs" / "spec"


def tables(page: str) -> list[dict[tuple[str, str], str]]:
    """Every table of transitions on a page."""
    found: list[dict[tuple[str, str], str]] = []
    for line in (SPEC / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells == ["state", "event", "next state"]:
            found.append({})
        elif found and len(cells) == 3 and set(cells[0]) != {"-"}:
            found[-1][cells[0], cells[1]] = cells[2]
    return found


def test_the_providers_table_is_the_codes() -> None:
    assert tables("provider.md") == [LEASE, TRANSITIONS]


def test_the_requesters_tables_are_the_codes() -> None:
    assert tables("requester.md") == [REPLICA, JOB]


@pytest.mark.parametrize(
    ("page", "letters"),
    [
        ("documents.md", "DF"),
        ("wire.md", "W"),
        ("manifest.md", "M"),
        ("verification.md", "V"),
        ("market.md", "BCK"),
        ("provider.md", "P"),
        ("requester.md", "R"),
    ],
)
def test_rules_are_numbered_without_gaps(page: str, letters: str) -> None:
    text = (SPEC / page).read_text()
    for letter in letters:
        numbers = [int(n) for n in re.findall(rf"^{letter}(\d+)\. ", text, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert numbers


def test_the_figures_on_the_pages_are_the_codes() -> None:
    stated = {
        "10 minutes to live": (limits.OFFER_LIFETIME_MS, 600_000),
        "offers": (limits.OFFERS_MAX, 200_000),
        "offers of an operator": (limits.OFFERS_PER_OPERATOR_MAX, 1_024),
        "proofs": (limits.PROOFS_MAX, 16_384),
        "days of a proof": (limits.PROOF_LIFETIME_MS, 30 * 86_400_000),
        "reservations shown": (limits.SIGHTINGS_MAX, 4),
        "reservations remembered": (equivocation.SEEN_MAX, 16_384),
        "tombstones": (Book.TOMBSTONES_MAX, 200_000),
        "probes": (limits.PROBES_MAX, 16),
        "listings looked at": (limits.SCAN_MAX, 1_024),
        "rounds until all are": (recruiting.SCAN_DOUBLINGS_MAX + 1, 9),
        "quote's life": (limits.QUOTE_LIFETIME_MS, 2_000),
        "hurry": (limits.QUOTE_WAIT_MS, 500),
        "round": (recruiting.PROBE_MS, 1_500),
        "declines": (recruiting.DECLINES_MAX, 3),
        "first credit": (ledger.CREDIT.first, 100_000_000),
        "paying credit": (ledger.CREDIT.paying, 1_000_000_000),
        "cap of strangers": (ledger.CREDIT.strangers, 1_000_000_000),
        "day of strangers": (ledger.STRANGERS_WINDOW_MS, 86_400_000),
        "points of debtors": (core.DEMERITS_SCORE_MAX, 15),
        "lease": (leasing.LEASE_MS_MAX, 30_000),
        "slots without work of one requester": (CAPS.per_requester, 8),
        "of all strangers": (CAPS.strangers, 16),
        "renewals": (CAPS.renewals, 8),
        "renewals at most": (limits.RENEWALS_MAX, 64),
        "slots": (limits.SLOTS_MAX, 1_024),
        "assignments of a reservation": (limits.ASSIGNMENTS_MAX, 4_096),
        "lease of a session": (session.LEASE_MS, 15_000),
        "renewal of a session": (session.RENEW_AHEAD_MS, 7_500),
        "demands": (limits.DEMANDS_MAX, 8_192),
        "demands of an operator": (limits.DEMANDS_PER_OPERATOR_MAX, 16),
        "proposals": (limits.PROPOSALS_PER_DEMAND_MAX, 16),
        "rounds before a demand": (bidding.DEMAND_ROUNDS, 3),
        "demands answered a minute": (bidding.ANSWERED_PER_MINUTE_MAX, 30),
        "quotes": (leasing.QUOTES_MAX, 4_096),
        "engagements": (provider.ENGAGEMENTS_MAX, 65_536),
        "letters": (leasing.LETTER_MS, 600_000),
        "delivery": (provider.DELIVERY_MS, 3_600_000),
        "verdict": (VERDICT_WAIT_MS, 86_400_000),
        "verdict's life": (desk.VERDICT_MS, 2 * 86_400_000),
        "asking for a verdict": (provider.ASK_MS_MIN, 30_000),
        "asking at the rarest": (provider.ASK_MS_MAX, 3_600_000),
        "settling again": (settlement.RETRY_MS_MIN, 10_000),
        "settling at the rarest": (settlement.RETRY_MS_MAX, 3_600_000),
        "grace": (hiring.COMMIT_GRACE_MS, 60_000),
        "gone": (requester.LOST_MS, 2_000),
        "attempts": (desk.ATTEMPTS_MAX, 5),
        "waiting for a part": (settling.PART_WAIT_MS, 86_400_000),
        "attempts at what was judged": (desk.SETTLING_ATTEMPTS_MAX, 9),
        "demerits": (reputation.SILENCE_DEMERITS_MAX, 1_000),
        "half-life of demerits": (reputation.HALF_LIFE_MS, 3_600_000),
        "replicas": (limits.REPLICAS_MAX, 16),
        "fruitless rounds": (hiring.DRY_ROUNDS_MAX, 3),
        "lonely rounds": (hiring.LONELY_ROUNDS_MAX, 20),
    }
    assert {name: code for name, (code, _) in stated.items()} == {name: page for name, (_, page) in stated.items()}


def test_the_constraints_on_the_page_are_the_codes() -> None:
    rows = re.findall(r"^\| ([a-z ,]+) \| [^|]+ \|$", (SPEC / "market.md").read_text(), re.MULTILINE)
    assert [name for row in rows[1:] for name in row.split(", ")] == [c.name for c in CONSTRAINTS]


def test_a_quote_outlives_the_round_that_gathers_it() -> None:
    assert recruiting.PROBE_MS < limits.QUOTE_LIFETIME_MS
