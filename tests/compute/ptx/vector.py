"""A conformance vector: a kernel, what its buffers hold before a launch, and what they must hold after it.

It knows nothing of an engine, so it can be run on anything that runs PTX: a parameter per buffer, all pointers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx

HEADER = ".version 8.4\n.target sm_75\n.address_size 64\n"
Array = NDArray[Any]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Vector:
    """`ptx_text` is canonical and its kernel is `k`. A buffer is right if (got ^ after) & mask is zero, byte by byte;
    `cases` are the instructions that it is about.
    """

    name: str
    ptx_text: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    before: tuple[Bytes, ...]
    after: tuple[Bytes, ...]
    mask: tuple[Bytes, ...]
    cases: tuple[str, ...]

    def wrong(self, got: Sequence[Array]) -> list[str]:
        """One sentence per buffer that is not as it must be."""
        sentences = []
        for number, (ours, after, mask) in enumerate(zip(got, self.after, self.mask, strict=True)):
            places = np.flatnonzero((ours.view(np.uint8) ^ after) & mask)
            if len(places):
                at = int(places[0])
                sentences.append(
                    f"{self.name}, buffer {number}: {len(places)} bytes differ, the first at {at}: "
                    f"{ours.view(np.uint8)[at & -8 : at + 8]}, not {after[at & -8 : at + 8]}"
                )
        return sentences


def vector(
    name: str,
    text: str,
    buffers: Sequence[tuple[Array, Array]],
    cases: Sequence[str],
    *,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (32, 1, 1),
    mask: Array | None = None,
) -> Vector:
    """`buffers` are (before, after); `mask` is the last one's, all others count whole."""
    before, after = (tuple(_bytes(pair[n]) for pair in buffers) for n in (0, 1))
    masks = [np.full(len(data), 0xFF, np.uint8) for data in after]
    if mask is not None:
        masks[-1] = _bytes(mask)
    canonical = ptx.canonicalise(ptx.parse(text))
    return Vector(name, canonical, grid, block, before, after, tuple(masks), tuple(cases))


def kernel_text(body: str, buffers: int, registers: str, *, extra: str = "") -> str:
    """A kernel `k` with the addresses of its buffers in %in0, %in1, … and %tid.x in %t."""
    declared = ", ".join(f".param .u64 p{n}" for n in range(buffers))
    loads = "\n".join(f"ld.param.u64 %in{n}, [p{n}];" for n in range(buffers))
    inputs = f".reg .b64 %in<{max(buffers, 1)}>;\n.reg .b32 %t;"
    text = f"{HEADER}{extra}.visible .entry k({declared}) {{\n{inputs}\n{registers}\n"
    return f"{text}{loads}\nmov.u32 %t, %tid.x;\n{body}\nret;\n}}\n"


def write(directory: Path, vectors: Iterable[Vector]) -> int:
    """NAME.ptx and NAME.npz (before0, after0, mask0, before1, …) for each, and index.json; how many instructions."""
    directory.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, object]] = []
    for each in vectors:
        (directory / f"{each.name}.ptx").write_text(each.ptx_text, encoding="ascii")
        kinds = {"before": each.before, "after": each.after, "mask": each.mask}
        arrays = {f"{kind}{n}": data for kind, buffers in kinds.items() for n, data in enumerate(buffers)}
        np.savez_compressed(directory / f"{each.name}.npz", allow_pickle=False, **arrays)
        shape = {"entry": "k", "grid": each.grid, "block": each.block, "buffers": len(each.before)}
        index.append({"name": each.name, **shape, "cases": each.cases})
    (directory / "index.json").write_text(json.dumps(index, indent=1), encoding="ascii")
    return sum(len(set(each["cases"])) for each in index)  # type: ignore[arg-type]


def _bytes(array: Array) -> Bytes:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).copy()
