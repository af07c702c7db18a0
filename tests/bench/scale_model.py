"""`python -m tests.bench.scale_model`: what a node of a network of any size sends in a second, from what one shard
costs in simulation. With `--measured N …` networks of these sizes are simulated too, and stand beside the model; with
`--plot FILE` it is drawn.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from p2pcompute.protocol.candidates import FRESH_MS, OFFERS_MAX, PEERS_ASKED
from p2pcompute.protocol.core import OFFER_RENEW_MS
from p2pcompute.protocol.gossip.codec import sole_message
from p2pcompute.protocol.kademlia.search import RESULT_PEERS
from p2pcompute.protocol.recruiting import QUICK_ROUNDS_MAX
from p2pcompute.protocol.shards import SHARD_OFFERS_MAX
from p2pcompute.transport.routing import PROVIDE_S, REFRESH_S
from simnet.network import Endpoint
from tests.bench import traffic

SIZES: Final = (300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
CALIBRATION_NODES: Final = 400
"""Fewer than a shard holds at the most: what is measured is what one shard costs."""
JOIN_MS: Final = 6_000
WINDOW_MS: Final = 10_000
DHT_QUESTION_BYTES: Final = 4_000
"""Estimated, not simulated: a dial (Noise, identify), a question, and an answer that names 20 peers."""
OFFER_BYTES_OVER: Final = 200
"""A gossip message beyond the offer in it: topic, publisher, signature, frame."""


class Costs(NamedTuple):
    """What one shard costs each of its nodes, measured: bytes of one offer's message as it crosses a line, how many
    copies of each a node sends, and all that it sends a second beside messages."""

    message_bytes: float
    copies: float
    rest_bytes_s: float

    def gossip(self, offers: float) -> float:
        """Bytes a second in a shard of so many offers."""
        return offers * 1_000 / OFFER_RENEW_MS * self.copies * self.message_bytes


def calibrate(nodes: int = CALIBRATION_NODES) -> Costs:
    """Simulate one shard and take its traffic apart."""
    world = traffic.Traffic(nodes)
    world.pass_time(JOIN_MS)
    sizes: list[int] = []

    def tap(source: Endpoint, target: Endpoint, what: str, frame: bytes | None, asked: bytes) -> None:
        if what == "gossip" and frame is not None and sole_message(frame) is not None:
            sizes.append(len(frame) + traffic.FRAME_BYTES)

    world.network.taps.append(tap)
    before = world.sent_bytes()
    world.pass_time(WINDOW_MS)
    sent = world.sent_bytes() - before
    offers = nodes * WINDOW_MS // OFFER_RENEW_MS
    seconds = WINDOW_MS / 1_000
    return Costs(sum(sizes) / len(sizes), len(sizes) / offers / nodes, (sent - sum(sizes)) / seconds / nodes)


def depth_of(nodes: int) -> int:
    """The least depth at which a shard of the mean size is not full."""
    return max(0, math.ceil(math.log2(nodes / SHARD_OFFERS_MAX)))


def dht_bytes_s(nodes: int) -> float:
    """Telling one topic and refreshing the table, whose searches grow with the logarithm of the network."""
    questions = RESULT_PEERS + math.log2(nodes)
    return DHT_QUESTION_BYTES * ((RESULT_PEERS + questions) / PROVIDE_S + 2 * questions / REFRESH_S)


def modelled(costs: Costs, nodes: int) -> float:
    """Bytes a second that a node sends to keep its shard."""
    return costs.gossip(nodes / 2 ** depth_of(nodes)) + costs.rest_bytes_s


def rare(nodes: int) -> float:
    """The smallest share of all providers that a class may have, so that the shards which one job asks in its quick
    rounds hold two of them on average."""
    shards = 2 ** depth_of(nodes)
    return 2 / (nodes / shards * min(shards, 1 + QUICK_ROUNDS_MAX))


def table(costs: Costs, measured: dict[int, float]) -> Table:
    """For people."""
    heads = ("nodes", "depth", "offers held", "whole book B/s", "shard B/s", "measured B/s", "DHT B/s", "rarest class")
    rows = Table(*heads)
    for nodes in sorted({*SIZES, *measured}):
        depth = depth_of(nodes)
        rows.add_row(
            f"{nodes:,}",
            str(depth),
            f"{nodes / 2**depth:.0f}",
            f"{costs.gossip(nodes) + costs.rest_bytes_s:,.0f}",
            f"{modelled(costs, nodes):,.0f}",
            f"{measured[nodes]:,.0f}" if nodes in measured else "",
            f"{dht_bytes_s(nodes):,.0f}",
            f"{100 * rare(nodes):.2g} %",
        )
    return rows


def plot(costs: Costs, measured: dict[int, float], path: Path) -> None:
    """Draw it. Raises UsageError without matplotlib."""
    from simnet.report import BLUE, DPI, GREY, RED, SIZE_INCHES, load_pyplot

    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
    sizes = [int(10 ** (2.3 + i * 0.01)) for i in range(371)]
    axes.loglog(sizes, [costs.gossip(n) + costs.rest_bytes_s for n in sizes], color=GREY, label="everybody keeps all")
    axes.loglog(sizes, [modelled(costs, n) for n in sizes], color=BLUE, label="everybody keeps a shard")
    axes.loglog(list(measured), list(measured.values()), "o", color=RED, label="simulated")
    axes.axhline(10_000, color=GREY, linestyle=":")
    axes.set_xlabel("nodes, all of which sell")
    axes.set_ylabel("bytes a second and node")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate, measure what is asked for, print."""
    parser = argparse.ArgumentParser(
        prog="scale_model", description="Bytes a second and node, by the size of a network."
    )
    parser.add_argument("--measured", type=int, nargs="*", default=[], metavar="N", help="simulate so many nodes too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG")
    args = parser.parse_args(arguments)
    console = Console(stderr=True)
    with console.status("simulating one shard"):
        costs = calibrate()
    measured: dict[int, float] = {}
    for nodes in args.measured:
        with console.status(f"simulating {nodes} nodes"):
            found = traffic.measure(nodes, join_ms=JOIN_MS, window_ms=WINDOW_MS)
            measured[nodes] = found["bytes_per_node_s"]
    Console(width=130).print(table(costs, measured))
    offer_bytes = costs.message_bytes - OFFER_BYTES_OVER
    pull = PEERS_ASKED * OFFERS_MAX * offer_bytes
    message = f"{costs.message_bytes:.0f} bytes, {costs.copies:.1f} copies"
    print(f"one offer's message: {message}; the rest: {costs.rest_bytes_s:.0f} B/s")
    rate = pull / FRESH_MS * 1_000
    print(f"a buyer pulls at most {pull / 1_000:.0f} kB every {FRESH_MS / 1_000:.0f} s: {rate:.0f} B/s")
    if args.plot is not None:
        plot(costs, measured, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
