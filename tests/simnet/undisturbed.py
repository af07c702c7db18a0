"""A world that ended well, for a test to spoil."""

from __future__ import annotations

from p2pcompute.protocol import records
from p2pcompute.protocol.core import PeerCore
from simnet.invariants import Watch
from simnet.invariants.base import of_kind
from simnet.node import Node
from simnet.scenario import Scenario
from simnet.world import World


def ended(seed: int = 5) -> tuple[World, Watch]:
    """An undisturbed world with one liar; a test may spoil it."""
    made = World(Scenario(providers=4, characters={"liar": 1}), seed)
    watch = Watch(made)
    made.run()
    watch.end()
    return made, watch


def core_of(node: Node) -> PeerCore:
    assert node.core is not None
    return node.core


def busy(world: World) -> Node:
    """A provider that was paid."""
    return next(p for p in world.providers if any(of_kind(p, records.Covered)))
