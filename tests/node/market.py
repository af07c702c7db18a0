"""A small real market in this process: providers with jailed engines on real transports, and a client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import trio

from p2pcompute.client.aio import AsyncClient, open_client, wait_for_offers
from p2pcompute.client.kernel import Kernel
from p2pcompute.node import factory
from p2pcompute.node.factory import EngineWrap
from p2pcompute.node.peer import Peer

SAXPY = Kernel(
    """
extern "C" __global__ void saxpy(int n, float a, const float* x, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
""",
    "saxpy",
    "saxpy.cu",
)
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


@contextlib.asynccontextmanager
async def open_market(
    root: Path,
    wraps: Sequence[EngineWrap | None],
    *,
    prices: Sequence[int] | None = None,
    engines: Sequence[str] | None = None,
) -> AsyncIterator[tuple[AsyncClient, list[Peer]]]:
    """One provider per element of `wraps` (None: honest), all known to the client's book. `engines`: as configured."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(root / "client"))
        addresses = (await client.node.status())["addresses"]
        assert isinstance(addresses, list)
        peers: list[Peer] = []
        for i, wrap in enumerate(wraps):
            home = root / f"provider{i}"
            factory.create_home(home, "", "", "main")
            changes: dict[str, object] = {
                "listen": LOOPBACK,
                "bootstrap": tuple(addresses),
                "threads": 1,
                "engine": engines[i] if engines else "cpu",
                "price_per_device_s": prices[i] if prices else 1_000_000 + i,
            }
            peer, _ = await stack.enter_async_context(factory.open_provider(home, "", changes, wrap=wrap))
            peers.append(peer)
        with trio.fail_after(20):
            assert await wait_for_offers(client.node, len(wraps), 20) == len(wraps)
        yield client, peers
