"""Compiled kernels and launches: argument packing, threads, the outcome."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from blake3 import blake3

from p2pcompute.compute.ptx import fenv, layout, library, output, ranges
from p2pcompute.compute.ptx.blocklist import BlockList, Blocks, block_list
from p2pcompute.compute.ptx.canonicalise import canonicalise
from p2pcompute.compute.ptx.grid import module_text
from p2pcompute.compute.ptx.ir import Entry, Module
from p2pcompute.compute.ptx.jit import Compiled, Loaded, Processor, assemble, cache_key, host, read_cached, write_cached
from p2pcompute.compute.ptx.lower import lower
from p2pcompute.compute.ptx.memory import Memory, Table
from p2pcompute.compute.ptx.outcome import LaunchResult, Status
from p2pcompute.compute.ptx.parse import parse
from p2pcompute.compute.ptx.run import Abort, Arena, Launch, Run, pool
from p2pcompute.compute.ptx.system import is_system
from p2pcompute.compute.ptx.uniform import Layout
from p2pcompute.errors import PtxError, UsageError
from p2pcompute.wire.limits import BLOCK_DIMS_MAX, BLOCK_THREADS_MAX, GRID_DIMS_MAX, SHARED_BYTES_MAX

THREADS_MAX: Final = 1_024
LOCAL_TOTAL_BYTES_MAX: Final = 1 << 30
ARENA_KEPT_BYTES_MAX: Final = 1 << 22
ARENAS_KEPT_MAX: Final = 64
ARENA_SHAPES_MAX: Final = 4
"""Memory of host threads that a kernel keeps between launches: of so many sizes, so many of each, if not larger."""


def pack_parameters(entry: Entry, values: Sequence[bytes]) -> bytes:
    """The parameter block of a launch, from each argument's little-endian bytes. Raises UsageError on a mismatch."""
    if len(values) != len(entry.parameters):
        raise UsageError(f"Kernel '{entry.name}' takes {len(entry.parameters)} arguments, not {len(values)}.")
    block = bytearray(entry.parameter_bytes)
    for number, (parameter, value) in enumerate(zip(entry.parameters, values, strict=True)):
        if len(value) != parameter.size_bytes:
            raise UsageError(
                f"Argument {number} of kernel '{entry.name}' is {len(value)} bytes; "
                f"parameter '{parameter.name}' (.{parameter.type_name}) takes {parameter.size_bytes}."
            )
        block[parameter.offset_bytes : parameter.offset_bytes + parameter.size_bytes] = value
    return bytes(block)


def compile_entry(
    module: Module,
    entry: str,
    block: tuple[int, int, int],
    *,
    cache_dir: Path | None = None,
    processor: Processor | None = None,
    is_logged: bool = False,
) -> CompiledKernel:
    """Machine code for one entry and block shape; lines in its traps are those of the canonical text. Raises PtxError
    for what the engine does not support, UsageError for bad shapes. `processor` is the host unless given; `is_logged`
    makes slower code that `accesslog` can watch.
    """
    if entry not in module.entries:
        raise UsageError(f"The module has no kernel '{entry}'; it has {', '.join(sorted(module.entries)) or 'none'}.")
    _check_shape("block", block, BLOCK_DIMS_MAX)
    threads = Layout(block)
    if threads.threads > BLOCK_THREADS_MAX:
        raise UsageError(f"A block of {threads.threads} threads exceeds {BLOCK_THREADS_MAX}.")
    _, digest = canonical_form(module)
    source = _Source(module, entry, threads, processor or host(), cache_dir, is_logged)
    return CompiledKernel(source, source.compiled(careful=False), digest)


@dataclass(frozen=True, slots=True)
class _Source:
    """What a kernel's machine code is made of."""

    module: Module
    entry: str
    threads: Layout
    processor: Processor
    cache_dir: Path | None
    is_logged: bool

    def compiled(self, *, careful: bool) -> Compiled:
        """From the cache, if it is there."""
        _, digest = canonical_form(self.module)
        way = ("careful" if careful else "assuming") + (" logged" if self.is_logged else "")
        key = cache_key(digest, self.entry, repr(self.threads.block), way, processor=self.processor)
        compiled = read_cached(self.cache_dir, key) if self.cache_dir is not None else None
        if compiled is None:
            compiled = self._made(careful=careful)
            if self.cache_dir is not None:
                write_cached(self.cache_dir, key, compiled)
        return compiled

    def _made(self, *, careful: bool) -> Compiled:
        canonical = canonical_module(self.module)
        kernel = canonical.entries[self.entry]
        lowered = lower(canonical, kernel, self.threads.block, careful=careful, is_logged=self.is_logged)
        if lowered.local_bytes * self.threads.threads > LOCAL_TOTAL_BYTES_MAX:
            raise PtxError(
                f"Kernel '{self.entry}' needs {lowered.local_bytes} bytes of stack per thread, too many for this block."
            )
        code = assemble(module_text(lowered, Layout(self.threads.block, lowered.lanes)), self.processor)
        helpers = library.objects(lowered.helpers, lowered.declarations, self.processor)
        return Compiled(
            (code, *helpers),
            lowered.assumed,
            lowered.lanes,
            lowered.context_bytes,
            lowered.local_bytes,
            lowered.shared_bytes,
        )


def canonical_form(module: Module) -> tuple[str, str]:
    """Canonical text and its digest, made once per module (which is not changed after parsing)."""
    if module.canonical is None:
        text = canonicalise(module)
        module.canonical = text, blake3(text.encode()).hexdigest()
    return module.canonical


def canonical_module(module: Module) -> Module:
    """The module of the canonical text, whose instructions carry its lines: itself, if it was parsed from that."""
    text, _ = canonical_form(module)
    return module if module.text == text else _parsed(text)


@lru_cache(maxsize=8)
def _parsed(text: str) -> Module:
    module = parse(text)
    module.canonical = text, blake3(text.encode()).hexdigest()
    return module


def _check_shape(what: str, shape: tuple[int, int, int], limits: tuple[int, int, int]) -> None:
    if len(shape) != 3 or any(not 1 <= size <= limit for size, limit in zip(shape, limits, strict=True)):
        raise UsageError(f"The {what} {tuple(shape)} is not within 1 to {limits}.")


class _Code:
    """Machine code linked into this process."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self._loaded = Loaded(compiled.objects)
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self._loaded.address)
        self._arenas: dict[int, list[Arena]] = {}

    def run(self, launch: Launch, table: Table, abort: Abort) -> tuple[int, Run]:
        """Take blocks on this host thread until none is left; status and records."""
        kept = self._arenas.get(launch.shared_bytes, [])
        try:
            arena = kept.pop()
        except IndexError:
            arena = Arena(launch)
        run = Run(launch, arena, table, abort)
        status = self.step(run)
        if status != layout.DONE:
            abort.set()
        return status, run

    def step(self, run: Run) -> int:
        """Take blocks until none is left; the status as `layout` numbers it."""
        return int(fenv.in_default(self._function, run.address))

    def keep(self, launch: Launch, runs: Iterable[Run]) -> None:
        """The memory of runs that nobody looks at any more is there for later launches."""
        if launch.shared_bytes not in self._arenas and len(self._arenas) >= ARENA_SHAPES_MAX:
            self._arenas.clear()
        kept = self._arenas.setdefault(launch.shared_bytes, [])
        for run in runs:
            if run.arena.size_bytes <= ARENA_KEPT_BYTES_MAX and len(kept) < ARENAS_KEPT_MAX:
                kept.append(run.arena)


@dataclass(frozen=True, slots=True)
class Share:
    """The code and the launch that several host threads work on."""

    code: _Code
    launch: Launch

    def step(self, run: Run) -> int:
        """Take blocks on this thread until none is left; the status as `layout` numbers it."""
        return self.code.step(run)


class CompiledKernel:
    """One entry, ready to run with one block shape. `digest` is that of the canonical PTX."""

    def __init__(self, source: _Source, compiled: Compiled, digest: str) -> None:
        self.module = source.module
        self.entry = source.module.entries[source.entry]
        self.digest = digest
        self.is_logged = source.is_logged
        self._source = source
        self._threads = source.threads
        self._compiled = compiled
        self._prints = any(is_system(instruction) for instruction in self.entry.instructions())
        self._assuming = _Code(compiled)
        self._careful: _Code | None = None
        self._steps = ranges.decode(compiled.assumed)
        self._judged = (b"", (0, 0, 0), False)
        """The last launch's parameters, grid, and whether the assumptions hold; replaced as a whole."""

    def _code_for(self, parameters: bytes, grid: tuple[int, int, int]) -> _Code:
        """Code whose assumptions hold for a launch; careful code is made when the first launch needs it."""
        judged = self._judged
        if judged[:2] != (parameters, grid):
            judged = self._judged = (parameters, grid, ranges.hold(self._steps, parameters, grid, self.block))
        if judged[2]:
            return self._assuming
        if self._careful is None:
            self._careful = _Code(self._source.compiled(careful=True))
        return self._careful

    @property
    def block(self) -> tuple[int, int, int]:
        return self._threads.block

    def launch(
        self,
        memory: Memory,
        parameters: bytes,
        grid: tuple[int, int, int],
        shared_bytes: int = 0,
        *,
        threads: int,
        abort: Abort,
        blocks: Blocks | None = None,
    ) -> LaunchResult:
        """Run all blocks on `threads` host threads and wait. `shared_bytes` is the dynamic shared memory per block.

        With `blocks` (linear numbers in the grid, x fastest; none twice, at most BLOCK_LIST_MAX) only these run, each
        once, as blocks of the whole grid. Raises UsageError for arguments that do not fit; a fault of the kernel is
        in the result.
        """
        self.check(parameters, grid, shared_bytes, threads)
        listed = None if blocks is None else block_list(blocks, grid)
        if listed is not None and not len(listed):
            return LaunchResult(Status.OK)
        threads = min(threads, grid[0] * grid[1] * grid[2] if listed is None else len(listed))
        share = self.share(parameters, grid, shared_bytes, threads, listed)
        table = memory.table(self.module, self.digest)
        with abort.linked() as own:
            done = _run_all(share.code, share.launch, table, own, threads)
        outcome = _outcome(done, self._log(done, share.launch, memory) if self._prints else "")
        share.code.keep(share.launch, [run for _, run in done])
        return outcome

    def check(self, parameters: bytes, grid: tuple[int, int, int], shared_bytes: int, threads: int) -> None:
        """Raises UsageError for what `launch` refuses."""
        _check_shape("grid", grid, GRID_DIMS_MAX)
        if len(parameters) != self.entry.parameter_bytes:
            raise UsageError(f"The parameter block is {len(parameters)} bytes, not {self.entry.parameter_bytes}.")
        if not 0 <= shared_bytes <= SHARED_BYTES_MAX - self._compiled.shared_bytes:
            raise UsageError(
                f"{shared_bytes} bytes of dynamic shared memory and the static ones exceed {SHARED_BYTES_MAX}."
            )
        if not 1 <= threads <= THREADS_MAX:
            raise UsageError(f"{threads} host threads is not within 1 to {THREADS_MAX}.")

    def share(
        self, parameters: bytes, grid: tuple[int, int, int], shared_bytes: int, threads: int, listed: BlockList | None
    ) -> Share:
        """What the host threads of one launch share; the arguments are checked."""
        code = self._code_for(parameters, grid)
        launch = Launch(
            code.compiled, self._threads, parameters, grid, shared_bytes, threads, prints=self._prints, listed=listed
        )
        return Share(code, launch)

    def _log(self, done: list[tuple[int, Run]], shared: Launch, memory: Memory) -> str:
        found = [record for _, run in done for record in run.records()]

        def string(address: int) -> str:
            return memory.string(self.module, self.digest, address)

        lost = any(run.lost_records for _, run in done)
        return output.text(found, string, shared.block_of, self.block, lost=lost)


def _run_all(code: _Code, launch: Launch, table: Table, abort: Abort, threads: int) -> list[tuple[int, Run]]:
    """Status and records of every host thread that ran. The caller takes part, then calls off those not started."""
    others = [pool().submit(code.run, launch, table, abort) for _ in range(threads - 1)]
    done: list[tuple[int, Run]] = []
    try:
        done.append(code.run(launch, table, abort))
    except BaseException:
        abort.set()
        raise
    finally:
        done.extend(other.result() for other in others if not other.cancel())
    return done


def _outcome(done: list[tuple[int, Run]], log: str) -> LaunchResult:
    """Of several traps the one in the lowest block is the witness."""
    traps = [run for status, run in done if status == layout.TRAPPED]
    if traps:
        return LaunchResult(Status.TRAP, min(traps, key=lambda run: run.trapped_block).trap(), log)
    return LaunchResult(Status.ABORTED if any(status == layout.ABORTED for status, _ in done) else Status.OK, log=log)
