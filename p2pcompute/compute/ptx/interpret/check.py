"""A whole task under the checker: its launches in order, block by block, thread by thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.canonicalise import canonicalise
from p2pcompute.compute.ptx.interpret.block import Block, Budget, OutOfSteps
from p2pcompute.compute.ptx.interpret.findings import Finding, Findings, Kind
from p2pcompute.compute.ptx.interpret.memory import Arena, BufferNote, Watch
from p2pcompute.compute.ptx.interpret.ordering import Ordering
from p2pcompute.compute.ptx.interpret.program import Program
from p2pcompute.compute.ptx.ir import Module
from p2pcompute.compute.ptx.memory import Memory
from p2pcompute.compute.ptx.parse import parse
from p2pcompute.errors import UsageError
from p2pcompute.wire.limits import BLOCK_DIMS_MAX, BLOCK_THREADS_MAX, GRID_DIMS_MAX, SHARED_BYTES_MAX

STEPS_MAX: Final = 20_000_000
"""Instructions of all threads together: 80 s at the 250,000 per second measured on one core."""

Index = tuple[int, int, int]
Progress = Callable[[int, int], None]
"""Called with the blocks done and the blocks there are, over all launches."""


@dataclass(frozen=True, slots=True)
class CheckedLaunch:
    """One launch, `repeats` times. `parameters` is their packed block, `shared_bytes` the dynamic shared memory.
    `flag` is memory that is zeroed before each repeat, and if it is still all zeros after one, that was the last. With
    `listed` only blocks of these numbers (x fastest) run.
    """

    entry: str
    grid: Index
    block: Index
    parameters: bytes
    shared_bytes: int = 0
    repeats: int = 1
    flag: NDArray[np.uint8] | None = None
    listed: tuple[int, ...] | None = None

    @property
    def numbers(self) -> Sequence[int]:
        """Of the blocks that run in each repeat."""
        x, y, z = self.grid
        return range(x * y * z) if self.listed is None else self.listed

    @property
    def blocks(self) -> int:
        """Of all repeats together."""
        return len(self.numbers) * self.repeats


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`findings` in the order met, `left_out` further ones beyond the limit. Not `is_complete`: the steps ran out after
    `blocks` of `blocks_total` blocks (`threads` threads).
    """

    findings: tuple[Finding, ...]
    left_out: int
    blocks: int
    blocks_total: int
    threads: int
    is_complete: bool

    @property
    def blocks_are_independent(self) -> bool:
        """As far as this run saw: no block touched what another wrote."""
        return not any(finding.kind is Kind.BLOCK_RACE for finding in self.findings)


def check(
    module: Module,
    memory: Memory,
    notes: Sequence[BufferNote],
    launches: Sequence[CheckedLaunch],
    *,
    steps_max: int = STEPS_MAX,
    progress: Progress | None = None,
) -> CheckResult:
    """Run the launches on `memory`, whose buffers `notes` describes in order, and see what each access does.

    Lines are those of the module's canonical text. Raises UsageError for shapes and arguments that do not fit, PtxError
    for instructions that the checker does not know.
    """
    text = canonicalise(module)
    module = parse(text)
    checker = _Checker(module, text, memory, notes, Budget(steps_max), progress)
    total = sum(launch.blocks for launch in launches)
    is_complete = True
    try:
        for number, launch in enumerate(launches):
            _check_shape(launch, module)
            checker.launch(number, launch, total)
    except OutOfSteps:
        is_complete = False
    findings = checker.findings
    return CheckResult(findings.all(), findings.left_out, checker.blocks, total, checker.threads, is_complete)


class _Checker:
    def __init__(
        self,
        module: Module,
        text: str,
        memory: Memory,
        notes: Sequence[BufferNote],
        budget: Budget,
        progress: Progress | None,
    ) -> None:
        digest = blake3(text.encode()).hexdigest()
        images = [
            (segment, space, np.asarray(memory.image(module, digest, space)))
            for segment, space in ((layout.GLOBAL_SEGMENT, "global"), (layout.CONST_SEGMENT, "const"))
        ]
        self._module = module
        self._lines = text.splitlines()
        self._arena = Arena(memory, notes, images)
        self._budget = budget
        self._progress = progress
        self.findings = Findings()
        self.blocks = 0
        self.threads = 0

    def launch(self, number: int, launch: CheckedLaunch, total: int) -> None:
        entry = self._module.entries[launch.entry]
        watch = Watch(self._arena, self.findings, number, launch.entry)
        program = Program(self._module, entry, launch.parameters, self._lines, watch)
        shared_bytes = program.shared_bytes + launch.shared_bytes
        if shared_bytes > SHARED_BYTES_MAX:
            raise UsageError(f"Kernel '{launch.entry}' asks for {shared_bytes} bytes of shared memory.")
        for _ in range(launch.repeats):
            if launch.flag is not None:
                launch.flag[:] = 0
            self._arena.begin_launch()
            watch.ordering = Ordering()
            for linear in launch.numbers:
                block = Block(program, launch.grid, launch.block, linear, shared_bytes)
                block.run(self._budget)
                self.blocks += 1
                self.threads += block.size
                if self._progress is not None:
                    self._progress(self.blocks, total)
            if launch.flag is not None and not launch.flag.any():
                break


def _check_shape(launch: CheckedLaunch, module: Module) -> None:
    entry = module.entries.get(launch.entry)
    if entry is None:
        raise UsageError(f"The module has no kernel '{launch.entry}'.")
    for what, shape, limits in (("grid", launch.grid, GRID_DIMS_MAX), ("block", launch.block, BLOCK_DIMS_MAX)):
        if any(not 1 <= size <= limit for size, limit in zip(shape, limits, strict=True)):
            raise UsageError(f"The {what} {shape} is not within 1 to {limits}.")
    if launch.block[0] * launch.block[1] * launch.block[2] > BLOCK_THREADS_MAX:
        raise UsageError(f"A block of {launch.block} threads exceeds {BLOCK_THREADS_MAX}.")
    if len(launch.parameters) != entry.parameter_bytes:
        raise UsageError(f"The parameter block is {len(launch.parameters)} bytes, not {entry.parameter_bytes}.")
