"""Kernels with their data, as manifests for the worker and as launches for the CPU engine in this process."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

import kernels_cu
from p2pcompute.compute import binding, closeness, ptx
from p2pcompute.compute.ptx.memory import aligned_zeros
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Argument, Buffer, Comparison, Launch, Manifest, Role
from tests.bench import ptx_cases
from tests.gpu import compiling

Array = NDArray[Any]
Given = Array | np.generic
Agree = Callable[[Mapping[str, Array], Mapping[str, Array]], str]
"""One sentence on how the first outputs differ from the second; empty when they agree as far as they have to."""
DTYPES: Final = {
    np.dtype(kind): name
    for kind, name in (
        *((f"u{n}", f"u{8 * n}") for n in (1, 2, 4, 8)),
        *((f"i{n}", f"i{8 * n}") for n in (1, 2, 4, 8)),
        *((f"f{n}", f"f{8 * n}") for n in (2, 4, 8)),
    )
}


@dataclasses.dataclass(frozen=True)
class Task:
    """One launch, perhaps repeated. `given` holds the arguments in order: arrays for buffers, numpy scalars for the
    rest; `roles` what each buffer is, by its argument's name."""

    name: str
    ptx_text: str
    entry: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    given: Mapping[str, Given]
    roles: Mapping[str, Role]
    shared_bytes: int = 0
    repeats: int = 1
    device_ms_max: int = 60_000
    agree: Agree | None = None
    """For kernels whose bits may differ; None: they may not."""
    ulp_max: int = 0
    rtol_ppb: int = 0
    """What a manifest declares for all outputs: how far they may differ instead."""
    room_bytes: int = 0
    """Of buffers that no kernel is given and that come from nowhere: memory that is only taken."""
    until: str = ""
    """The argument that ends the repeats when it stays zero."""
    constants: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    """What variables hold from the start, by name."""

    @property
    def buffers(self) -> dict[str, Array]:
        return {name: value for name, value in self.given.items() if isinstance(value, np.ndarray)}

    @property
    def bytes_touched(self) -> int:
        """Of all buffers, results that are also inputs counted twice: what a kernel that reads and writes each number
        once has to move."""
        return sum(a.nbytes * (2 if self.roles[name] is Role.INOUT else 1) for name, a in self.buffers.items())

    def classification(self) -> ptx.Classification:
        return ptx.classify(ptx.parse(self.ptx_text), self.entry)

    def manifest(self) -> Manifest:
        buffers = tuple(self._buffer(name, a) for name, a in self.buffers.items())
        sizes = [
            min(limits.BUFFER_BYTES_MAX, self.room_bytes - start)
            for start in range(0, self.room_bytes, limits.BUFFER_BYTES_MAX)
        ]
        buffers += tuple(Buffer(f"room{n}", "u8", (size,), Role.TEMP) for n, size in enumerate(sizes))
        buffers += tuple(
            Buffer(f"constant {name}", DTYPES[array.dtype], array.shape, Role.IN, bytes(32))
            for name, array in self.constants.items()
        )
        arguments = tuple(
            Argument(buffer=name) if isinstance(value, np.ndarray) else Argument(value=value.tobytes())
            for name, value in self.given.items()
        )
        return Manifest(
            name=self.name,
            toolchain="gpu tests",
            sources=(),
            ptx_root=bytes(32),
            ptx_size_bytes=len(self.ptx_text),
            buffers=buffers,
            launches=(
                Launch(self.entry, self.grid, self.block, arguments, self.shared_bytes, self.repeats, self.until),
            ),
            device_ms_max=self.device_ms_max,
            memory_bytes_max=max(limits.MIB, sum(buffer.size_bytes for buffer in buffers)),
            constants=tuple((name, f"constant {name}") for name in self.constants),
        )

    def _buffer(self, name: str, array: Array) -> Buffer:
        role = self.roles[name]
        is_input, is_output = role in (Role.IN, Role.INOUT), role in (Role.OUT, Role.INOUT)
        buffer = Buffer(name, DTYPES[array.dtype], array.shape, role, bytes(32) if is_input else b"")
        if not is_output or not (self.ulp_max or self.rtol_ppb):
            return buffer
        return msgspec.structs.replace(
            buffer, comparison=Comparison.TOLERANCE, ulp_max=self.ulp_max, rtol_ppb=self.rtol_ppb
        )

    def inputs(self) -> dict[str, memoryview]:
        """Of IN and INOUT buffers."""
        wanted = {name: self.given[name] for name, role in self.roles.items() if role in (Role.IN, Role.INOUT)}
        wanted |= {f"constant {name}": array for name, array in self.constants.items()}
        return {name: memoryview(np.ascontiguousarray(array).reshape(-1)).cast("B") for name, array in wanted.items()}

    def shaped(self, outputs: Mapping[str, bytes]) -> dict[str, Array]:
        """What came back, as arrays."""
        return {
            name: np.frombuffer(data, self.given[name].dtype).reshape(self.given[name].shape)
            for name, data in outputs.items()
        }

    def difference(self, got: Mapping[str, Array], want: Mapping[str, Array]) -> str:
        """Empty when the outputs agree: bit for bit, as `agree` allows, or within what the manifest declares."""
        if self.agree is not None:
            return self.agree(got, want)
        if not (self.ulp_max or self.rtol_ppb):
            return differing_bits(got, want)
        for buffer in self.manifest().outputs:
            left, right = (memoryview(np.ascontiguousarray(v[buffer.name])).cast("B") for v in (got, want))
            if not closeness.are_close(buffer, left, right):
                return f"{buffer.name} is not within {buffer.ulp_max} ulp or {buffer.rtol_ppb} ppb"
        return ""


def differing_bits(got: Mapping[str, Array], want: Mapping[str, Array]) -> str:
    for name, right in want.items():
        left = got[name]
        a, b = (np.ascontiguousarray(v).reshape(-1).view(np.uint8) for v in (left, right))
        wrong = np.flatnonzero(a != b)
        if wrong.size:
            at = int(wrong[0]) // right.itemsize
            values = left.reshape(-1)[at], right.reshape(-1)[at]
            return f"{name}[{at}] is {values[0]!r}, not {values[1]!r}; {wrong.size} bytes differ"
    return ""


def on_cpu(task: Task, threads: int | None = None) -> dict[str, Array]:
    """The task on the CPU engine, in this process: its outputs. Raises AssertionError when it traps."""
    arrays = []
    for name, value in task.buffers.items():
        mine = aligned_zeros(value.nbytes)
        if task.roles[name] in (Role.IN, Role.INOUT):
            mine[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        arrays.append(mine)
    memory, manifest = ptx.Memory(arrays), task.manifest()
    kernel = _compiled(task.ptx_text, task.entry, task.block)
    values = binding.parameter_values(manifest, manifest.launches[0], memory)
    parameters = ptx.pack_parameters(kernel.entry, values)
    for _ in range(task.repeats):
        result = kernel.launch(
            memory, parameters, task.grid, task.shared_bytes, threads=threads or os.cpu_count() or 1, abort=ptx.Abort()
        )
        assert result.status is ptx.Status.OK, f"{task.name} on the CPU: {result.trap}"
    outputs = (name for name, role in task.roles.items() if role in (Role.OUT, Role.INOUT))
    numbers = {name: number for number, name in enumerate(task.buffers)}
    return task.shaped({name: arrays[numbers[name]].tobytes() for name in outputs})


@functools.lru_cache(maxsize=4)
def _compiled(text: str, entry: str, block: tuple[int, int, int]) -> ptx.CompiledKernel:
    return ptx.compile_entry(ptx.parse(text), entry, block)


# The lists ------------------------------------------------------------------------------------------------------------

_ROLES: Final = {"in": Role.IN, "out": Role.OUT, "inout": Role.INOUT}


def of_library(name: str, work: kernels_cu.Work | None = None, *, repeats: int = 1) -> Task:
    """A kernel of kernels_cu, with its work of scale 1 or a given one."""
    spec = kernels_cu.load(name)
    work = work or spec.build(1)
    given: dict[str, Given] = {}
    for parameter in spec.parameters:
        if parameter.role == "scalar":
            given[parameter.name] = work.scalars[parameter.name]
        elif parameter.name in work.inputs:
            given[parameter.name] = work.inputs[parameter.name]
        else:
            dtype, shape = work.outputs[parameter.name]
            given[parameter.name] = np.zeros(shape, kernels_cu.library.DTYPES[dtype])

    return Task(
        name=f"kernels_cu/{name}",
        ptx_text=compiling.canonical(spec.file_name, spec.source),
        entry=spec.entry,
        grid=work.grid,
        block=work.block,
        given=given,
        roles={p.name: _ROLES[p.role] for p in spec.parameters if p.role != "scalar"},
        shared_bytes=work.shared_bytes,
        repeats=repeats,
        agree=None if spec.exact else lambda got, want: spec.check(work, got),
    )


def of_case(case: ptx_cases.Case, *, repeats: int = 1) -> Task:
    """A kernel of the frozen list of the benchmark `ptx`. One that is not exact is compared as the list says."""
    text = compiling.canonical(f"{case.name}.cu", case_source(case.name))
    given = {f"argument{n}": value for n, value in enumerate(case.arguments)}
    roles = {
        f"argument{n}": (Role.INOUT if value.any() else Role.OUT) if n in case.outputs else Role.IN
        for n, value in enumerate(case.arguments)
        if isinstance(value, np.ndarray)
    }

    def agree(got: Mapping[str, Array], want: Mapping[str, Array]) -> str:
        mine, theirs = ({int(name[8:]): a for name, a in outputs.items()} for outputs in (got, want))
        wrong = ptx_cases.differing(case, mine, theirs)
        return f"argument {wrong[0]} is not close" if wrong else ""

    is_exact = ptx.classify(ptx.parse(text), case.name).exact
    return Task(
        name=f"ptx_kernels/{case.name}",
        ptx_text=text,
        entry=case.name,
        grid=case.grid,
        block=case.block,
        given=given,
        roles=roles,
        shared_bytes=case.shared_bytes,
        repeats=repeats,
        agree=None if is_exact else agree,
    )


def case_source(name: str) -> str:
    return (Path(ptx_cases.__file__).parent / "ptx_kernels" / f"{name}.cu").read_text(encoding="utf-8")


def names() -> list[str]:
    """Every kernel that the GPU tests run: of the library, then of the frozen list."""
    return [*(f"kernels_cu/{n}" for n in kernels_cu.names()), *(f"ptx_kernels/{n}" for n in ptx_cases.names())]


def load(name: str, *, repeats: int = 1) -> Task:
    """Raises KeyError or IndexError for a name that `names` does not have."""
    shelf, _, kernel = name.partition("/")
    if shelf == "kernels_cu":
        return of_library(kernel, repeats=repeats)
    return of_case(ptx_cases.read([kernel])[0], repeats=repeats)


def all_tasks(wanted: Sequence[str] | None = None) -> list[Task]:
    return [load(name) for name in wanted or names()]
