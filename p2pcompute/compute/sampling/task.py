"""A whole task, before it is submitted: may its blocks be sampled, and what does each of its launches store?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from p2pcompute.compute import ptx
from p2pcompute.compute.blocks import Asked, map_writers
from p2pcompute.compute.blockwork import kernel_launch
from p2pcompute.compute.sampling.eligibility import eligibility
from p2pcompute.errors import P2PComputeError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.steps import snapshot_fault


@dataclass(frozen=True, slots=True)
class Sampled:
    """`fault`: why the task cannot be sampled, as a sentence; empty when it can. `stored`: of each launch the places in
    the manifest of the buffers that it may write, ascending. `unproven`: launches of tier `map`, which `map_fault`
    decides."""

    fault: str
    stored: tuple[tuple[int, ...], ...] = ()
    unproven: tuple[int, ...] = ()


def sampled(manifest: Manifest, ptx_text: bytes) -> Sampled:
    """Judge every launch. Nothing runs; takes milliseconds for ordinary kernels, at most two seconds for a launch."""
    fault = snapshot_fault(manifest)
    if fault:
        return Sampled(fault)
    places = {buffer.name: number for number, buffer in enumerate(manifest.buffers)}
    stored: list[tuple[int, ...]] = []
    unproven: list[int] = []
    try:
        module = ptx.parse(ptx_text.decode("ascii", errors="replace"))
        for number, launch in enumerate(manifest.launches):
            judged = eligibility(module, launch.entry, kernel_launch(manifest, module, number))
            if judged.fault:
                return Sampled(f"launch {number} ({launch.entry[:64]}): {judged.fault}")
            stored.append(tuple(sorted(places[name] for name in judged.stored)))
            unproven += [] if judged.is_proven else [number]
    except P2PComputeError as error:
        return Sampled(str(error))
    empty = next((number for number, places_ in enumerate(stored) if not places_), None)
    if empty is not None:
        return Sampled(f"launch {empty} ({manifest.launches[empty].entry[:64]}) stores nothing that could be compared")
    return Sampled("", tuple(stored), tuple(unproven))


def eligible_fault(manifest: Manifest, ptx_text: bytes) -> str:
    """Why this task cannot be sampled, as a sentence; empty when it can, if `map_fault` finds nothing either."""
    return sampled(manifest, ptx_text).fault


async def map_fault(engine: Asked, manifest: Manifest, ptx_text: bytes, launches: Iterable[int]) -> str:
    """As `eligible_fault`, of launches of tier `map`: their address slices run on a jailed engine."""
    for number in launches:
        found = await map_writers(engine, manifest, ptx_text, launch=number)
        if found.result.status is not JobStatus.OK:
            return f"launch {number}: its writers cannot be mapped: {found.result.reason}"
        if found.conflicts:
            return f"launch {number}: blocks meet at PTX line {found.conflicts[0]} (rule 9)"
    return ""
