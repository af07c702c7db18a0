"""A task under the checker, before anybody pays for it: what is wrong with it, and what can be said about its bits.

The checker is an interpreter in plain Python: no code of the kernel's is ever executed natively, and every access is
looked up in a table. `checker` runs it in a jailed process all the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import binding, ptx
from p2pcompute.compute.blockwork import kernel_launch
from p2pcompute.compute.ptx import interpret
from p2pcompute.compute.ptx.interpret import CheckResult, Kind
from p2pcompute.compute.ptx.memory import aligned_zeros
from p2pcompute.compute.sampling import Eligibility, eligibility
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import DTYPES, Manifest, manifest_fault
from p2pcompute.wire.steps import snapshot_fault

MEMORY_BYTES_MAX: Final = limits.GIB
"""Of all buffers together: each is copied, so that a check changes nothing."""
_RACES: Final = (Kind.RACE, Kind.BLOCK_RACE)


@dataclass(frozen=True, slots=True)
class Preflight:
    """`determinism` is exact, order-dependent or approx; `reasons` (PTX line, why) what keeps it from being exact.

    `dependent` says why blocks cannot be recomputed one by one, as far as the checked run shows; empty means that in
    this run no block met another, which is an observation and no proof.
    """

    determinism: str
    reasons: tuple[tuple[int, str], ...]
    dependent: tuple[tuple[int, str], ...]
    result: CheckResult
    samples: tuple[Eligibility, ...] = ()
    """Of each launch: may its blocks be recomputed one by one?"""
    stateless: str = ""
    """Why the task keeps no states, without which no blocks are recomputed, as a sentence; empty when it does."""


def preflight(
    manifest: Manifest,
    ptx_text: str,
    inputs: Mapping[str, bytes | memoryview],
    *,
    steps_max: int = interpret.STEPS_MAX,
    progress: interpret.Progress | None = None,
) -> Preflight:
    """Check every launch. `inputs` has the bytes of every IN and INOUT buffer; they are not changed.

    Raises UsageError for a manifest or inputs that do not fit, PtxError for PTX that the checker does not know.
    """
    fault = manifest_fault(manifest)
    if fault:
        raise UsageError(fault)
    total = sum(buffer.size_bytes for buffer in manifest.buffers)
    if total > MEMORY_BYTES_MAX:
        raise UsageError(f"the buffers have {total} bytes; the checker takes {MEMORY_BYTES_MAX}: check a smaller case")
    module = ptx.parse(ptx_text)
    memory = ptx.Memory([_array(buffer.size_bytes, inputs.get(buffer.name)) for buffer in manifest.buffers])
    binding.set_constants(manifest, module, memory)
    flags = {launch.until for launch in manifest.launches}
    notes = [interpret.BufferNote(b.name, b.is_input or b.name in flags, DTYPES[b.dtype]) for b in manifest.buffers]
    launches = list(_launches(manifest, module, memory))
    result = interpret.check(module, memory, notes, launches, steps_max=steps_max, progress=progress)
    judged = _judged(ptx.parse(ptx.canonicalise(module)), manifest, result)
    samples = tuple(
        eligibility(module, launch.entry, kernel_launch(manifest, module, number))
        for number, launch in enumerate(manifest.launches)
    )
    return replace(judged, samples=samples, stateless=snapshot_fault(manifest))


def check_blocks(
    manifest: Manifest,
    ptx_text: str,
    arrays: Sequence[NDArray[np.uint8]],
    *,
    launch: int,
    blocks: Sequence[int],
    steps_max: int = interpret.STEPS_MAX,
) -> CheckResult:
    """Check these blocks of one launch on a state, one array for each buffer, which is changed. All of it counts as
    written. Raises as `preflight` does.
    """
    module = ptx.parse(ptx_text)
    memory = ptx.Memory(arrays)
    notes = [interpret.BufferNote(b.name, True, DTYPES[b.dtype]) for b in manifest.buffers]
    whole = next(itertools.islice(_launches(manifest, module, memory), launch, None), None)
    if whole is None:
        raise UsageError(f"there is no launch {launch}; the manifest has {len(manifest.launches)}")
    some = replace(whole, repeats=1, flag=None, listed=tuple(blocks))
    return interpret.check(module, memory, notes, [some], steps_max=steps_max)


def _array(size_bytes: int, data: bytes | memoryview | None) -> np.ndarray:
    array = aligned_zeros(size_bytes)
    if data is not None:
        if len(data) != size_bytes:
            raise UsageError(f"an input has {len(data)} bytes; its buffer has {size_bytes}")
        array[:] = np.frombuffer(data, np.uint8)
    return array


def _launches(manifest: Manifest, module: ptx.Module, memory: ptx.Memory) -> Iterator[interpret.CheckedLaunch]:
    for launch in manifest.launches:
        entry = module.entries.get(launch.entry)
        if entry is None:
            raise UsageError(f"the PTX has no kernel {launch.entry[:64]!r}")
        parameters = ptx.pack_parameters(entry, binding.parameter_values(manifest, launch, memory))
        flag = next((memory.array(i) for i, b in enumerate(manifest.buffers) if b.name == launch.until), None)
        yield interpret.CheckedLaunch(
            launch.entry, launch.grid, launch.block, parameters, launch.shared_bytes, launch.repeats, flag
        )


def _judged(module: ptx.Module, manifest: Manifest, result: CheckResult) -> Preflight:
    entries = dict.fromkeys(launch.entry for launch in manifest.launches)
    blurred = {launch.entry for launch in manifest.launches if any(t.is_approximate for t in launch.textures)}
    classes = [ptx.classify(module, entry, approximate_textures=entry in blurred) for entry in entries]
    reasons = {reason for each in classes for reason in each.reasons}
    races = {(finding.line, finding.message) for finding in result.findings if finding.kind in _RACES}
    dependent = {(f.line, f.message) for f in result.findings if f.kind is Kind.BLOCK_RACE}
    for entry in entries:
        dependent |= _shared_by_blocks(module.entries[entry])
    names = {each.name for each in classes} | ({"order-dependent"} if races else set())
    determinism = next((name for name in ("approx", "order-dependent") if name in names), "exact")
    return Preflight(determinism, tuple(sorted(reasons | races)), tuple(sorted(dependent)), result)


def _shared_by_blocks(entry: ptx.Entry) -> set[tuple[int, str]]:
    """Instructions through which blocks may meet even where the checker saw no conflict."""
    return {
        (ins.line, f"'{ins.spelling}' lets blocks meet in global memory")
        for ins in entry.instructions()
        if ins.opcode in ("atom", "red") and not ins.has("shared")
    }
