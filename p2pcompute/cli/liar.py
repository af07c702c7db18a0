"""The demo's liar: a provider whose engine returns subtly wrong results, at the lowest price in the market.

Only the demo starts it; `serve` has no way to this engine.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Mapping
from pathlib import Path

import trio

from p2pcompute.compute.engine import Engine, EngineResult, OnStep
from p2pcompute.node import factory
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class LyingEngine:
    """Runs the kernel like everyone else, then changes the lowest bit of one byte in the middle of each result: of each
    output, or of each buffer of every state that is kept."""

    honest: Engine

    @property
    def quarantine(self) -> str:
        return self.honest.quarantine

    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        """As the honest engine, but wrong."""
        result = await self.honest.run(manifest, ptx_text, inputs, on_step=_bent(on_step) if on_step else None)
        if result.status is not JobStatus.OK:
            return result
        return dataclasses.replace(result, outputs={name: _bend(data) for name, data in result.outputs.items()})

    async def aclose(self) -> None:
        await self.honest.aclose()


def _bent(on_step: OnStep) -> OnStep:
    async def show(state: Mapping[str, bytes]) -> None:
        await on_step({name: _bend(data) for name, data in state.items()})

    return show


def _bend(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def main(arguments: list[str]) -> int:
    """`liar HOME BOOTSTRAP PRICE`: serve lies until told to stop. Prints one line of JSON once it listens."""
    home, bootstrap, price = arguments
    changes: dict[str, object] = {
        "listen": ("/ip4/127.0.0.1/tcp/0",),
        "bootstrap": (bootstrap,),
        "price_per_device_s": int(price),
        "price_per_gb": 0,
    }
    trio.run(_serve, Path(home), changes)
    return 0


async def _serve(home: Path, changes: dict[str, object]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with factory.open_provider(home, "", changes, wrap=LyingEngine) as (peer, _):
            print(json.dumps({"event": "listening", "addresses": peer.addresses()}), flush=True)
            async for _ in signals:
                break
