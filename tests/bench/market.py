"""The market under load: simulated, 2,000 providers; real, 100 peers on loopback; and what it costs the nodes."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from typing import Final

from tests.bench import progress, traffic
from tests.bench.market_world import Market, Phase

GOALS: Final = {
    "match_p99_ms": ("<", 1_000.0),
    "unmatched_60": ("<=", 0.01),
    "unmatched_90": ("<=", 0.03),
    "price_excess": ("<=", 0.03),
    "bytes_per_node_s_10k": ("<=", 10_000.0),
    "real_match_p99_ms": ("<", 1_000.0),
}
LOADS: Final = (0.6, 0.9)
PROVIDERS: Final = 2_000
WARM_MS: Final = 28_000
"""Longer than any task runs: then as many end as begin."""
COUNTED_MS: Final = 24_000
"""Prices swing with the length of tasks; over as long as the longest run, that evens out."""
JOIN_MS: Final = 6_000
WINDOW_MS: Final = 10_000
"""One round of anti-entropy of every node, and ten heartbeats."""
STEP_MS: Final = 5_000
BAR: Final = 24


def measure(*, quick: bool) -> dict[str, object]:
    """Demand is a Poisson process of tasks for two replicas that run 9 to 27 s, of 60 % and then 90 % of what the
    providers can do; prices are log-normal (sigma 0.25); lines take 5 to 80 ms one way. Half a minute of each demand
    goes by before tasks count.

    `match_p99_ms`: of tasks at 60 %, from submitting until both replicas are assigned, after 5 s at most; `_90` at
    90 %. `unmatched_60`, `_90`: the share of tasks that had not both after 5 s. `price_excess`: the price per
    device-second paid on average, above that which a broker would have had the same tasks pay who knows who is free and
    gives each the cheapest at once, as a share of that; the greater of both demands (`price_excess_60`, `_90`).
    `probes_per_task`: peers asked for a quote.

    Providers begin as they are long after they came, in their shards; buyers are in none and pull their candidates.

    `bytes_per_node_s_10k`, `_1k`: what a node sends in a second (and so receives), of 10,000 and of 1,000 that all sell
    and make their offers anew every five minutes, with what Noise, yamux and TCP add.

    `real_match_p99_ms`: as `match_p99_ms` at 60 %, among 100 whole nodes in one process on loopback that all sell one
    slot, ten of which buy tasks of 10 to 30 s; `real_unmatched` as above."""
    providers, warm_ms, counted_ms = (30, 3_000, 3_000) if quick else (PROVIDERS, WARM_MS, COUNTED_MS)
    figures = _simulated(providers, warm_ms, counted_ms, buyers=4 if quick else 100)
    figures |= _traffic(quick=quick)
    progress.step("market: real peers on loopback")
    arguments = ("6", "6") if quick else ("100", "90")
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.market_hosts", *arguments], check=True, stdout=subprocess.PIPE
    )
    return {**figures, **json.loads(done.stdout)}


def _simulated(providers: int, warm_ms: int, counted_ms: int, *, buyers: int) -> dict[str, object]:
    market = Market(providers, [Phase(load, warm_ms, counted_ms) for load in LOADS], buyers=buyers)
    market.start()
    until_ms = market.scenario.until_ms
    while market.wheel.now_ms < until_ms:
        done = BAR * market.wheel.now_ms // until_ms
        said = f"{market.wheel.now_ms / 1_000:.0f} of {until_ms / 1_000:.0f} s, {len(market.purchases)} tasks"
        progress.step(f"market [{'#' * done}{'.' * (BAR - done)}] {providers} simulated providers, {said}")
        market.wheel.run(min(until_ms, market.wheel.now_ms + STEP_MS), lambda: False)
    gc.unfreeze()
    figures: dict[str, object] = {}
    for load, suffix in zip(LOADS, ("60", "90"), strict=True):
        bought = market.counted(load)
        took = sorted(p.matched_ms for p in bought if p.matched_ms is not None)
        figures[f"unmatched_{suffix}"] = 1 - len(took) / len(bought)
        figures["match_p99_ms" if suffix == "60" else "match_p99_ms_90"] = float(took[int(0.99 * len(took))])
        figures["match_p50_ms" if suffix == "60" else "match_p50_ms_90"] = float(took[len(took) // 2])
        figures[f"price_excess_{suffix}"] = market.price_excess(load)
        figures[f"tasks_{suffix}"] = float(len(bought))
    excesses = [figures[key] for key in ("price_excess_60", "price_excess_90")]
    figures["price_excess"] = max(x for x in excesses if isinstance(x, float))
    figures["probes_per_task"] = market.probes / len(market.purchases)
    return figures


def _traffic(*, quick: bool) -> dict[str, object]:
    figures: dict[str, object] = {}
    for suffix, nodes in (("1k", 20 if quick else 1_000), ("10k", 30 if quick else 10_000)):
        gc.collect()
        progress.step(f"market: bytes of {nodes} simulated nodes")
        found = traffic.measure(nodes, join_ms=JOIN_MS, window_ms=WINDOW_MS)
        figures[f"bytes_per_node_s_{suffix}"] = found["bytes_per_node_s"]
    return figures
