"""A large simulated network as it is long after its nodes came: everybody is in its shard, knows some others of it, and
holds its offers. To let ten thousand nodes find all this out is what the tests of small networks are for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from p2pcompute.protocol.commands import Publish
from p2pcompute.protocol.machine import Now
from p2pcompute.protocol.shards import Shard, is_full, shard_of
from simnet.node import Node
from simnet.world import World

ACQUAINTANCES: Final = 4
"""Others of its shard that a node dials; as many dial it."""


def depth_of(peers: Sequence[bytes]) -> int:
    """How deep a network of these providers is: the least depth at which no shard is full."""
    depth = 0
    while any(map(is_full, _sizes(peers, depth).values())):
        depth += 1
    return depth


def _sizes(peers: Sequence[bytes], depth: int) -> dict[Shard, int]:
    sizes: dict[Shard, int] = {}
    for peer in peers:
        shard = shard_of(peer, depth)
        sizes[shard] = sizes.get(shard, 0) + 1
    return sizes


def settle(world: World) -> int:
    """Start all providers of a world, settled; the depth of the network."""
    rng = random.Random(f"settled/{world.seed}")
    depth = depth_of([node.peer for node in world.providers])
    shards: dict[Shard, list[Node]] = {}
    for node in world.providers:
        shards.setdefault(shard_of(node.peer, depth), []).append(node)
    for members in shards.values():
        for node in members:
            others = [one for one in members if one is not node]
            node.depth, node.bootstrap = depth, [x.peer for x in rng.sample(others, min(len(others), ACQUAINTANCES))]
            assert node.terms is not None
            node.start([Publish(node.terms)])
    for members in shards.values():
        _tell_each_other(members, world.network.now)
    return depth


def _tell_each_other(members: Sequence[Node], now: Now) -> None:
    cores = [node.core for node in members if node.core is not None]
    own = [core.book.get(core.post.env.me) for core in cores]
    offers = [listing.offer.raw for listing in own if listing is not None]
    for core in cores:
        for raw in offers:
            core.book.judge(now, raw)
