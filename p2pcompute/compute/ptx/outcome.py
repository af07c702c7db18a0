"""What a launch came to: ok, aborted, or a trap with its witness."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from p2pcompute.compute.ptx import layout


class Status(Enum):
    OK = "ok"
    TRAP = "trap"
    ABORTED = "aborted"


class TrapKind(Enum):
    """What a kernel did wrong; the values are those of the state record."""

    OUT_OF_BOUNDS = layout.TRAP_BOUNDS
    MISALIGNED = layout.TRAP_MISALIGNED
    PARTIAL_BARRIER = layout.TRAP_BARRIER
    PARTIAL_WARP = layout.TRAP_CONVERGENCE
    TRAP_INSTRUCTION = layout.TRAP_INSTRUCTION
    ASSERTION = layout.TRAP_ASSERTION
    NO_SUCH_TEXTURE = layout.TRAP_TEXTURE


@dataclass(frozen=True, slots=True)
class Trap:
    """The witness: `block` and `thread` are (x, y, z), `line` that of the PTX, `address` the device address or 0."""

    kind: TrapKind
    line: int
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    address: int

    def __str__(self) -> str:
        where = f" at address {self.address:#x}" if self.address else ""
        reason = self.kind.name.lower().replace("_", " ")
        return f"{reason}{where}, PTX line {self.line}, block {self.block}, thread {self.thread}"


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """`log` is what the kernel printed: at most `output.TEXT_BYTES_MAX` bytes, by block, in the kernel's own words."""

    status: Status
    trap: Trap | None = None
    log: str = ""
