"""What every engine is to the node: it runs one manifest at a time and says how that ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest


class Energy(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What the whole device used from the first launch to the last. `is_shared`: others may have used it meanwhile.
    A provider's own word, never a proof."""

    millijoules: int
    is_shared: bool


@dataclasses.dataclass(frozen=True, slots=True)
class EngineResult:
    """How a run ended. `outputs` has every OUT and INOUT buffer by name, only for OK; `reason` is one sentence, empty
    for OK, which for a TRAP on the CPU names launch, block and thread. `log` is what the kernels printed, at most
    16 KiB; `energy` is None where nothing measures it."""

    status: JobStatus
    outputs: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    device_us: int = 0
    reason: str = ""
    log: str = ""
    energy: Energy | None = None


OnStep = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Takes the state after a step: the bytes of every buffer but pure inputs, by name. The engine waits for it."""


class Engine(Protocol):
    """What runs one manifest at a time. `quarantine`: why its device cannot be used at present; empty when it can."""

    @property
    def quarantine(self) -> str: ...
    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        """With `on_step`, every state is shown to it; `outputs` is empty then, as the last state holds them."""

    async def aclose(self) -> None: ...
