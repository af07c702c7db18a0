"""LLVM text -> machine code in this process, with a cache of object files.

A lean pipeline: the generated code is already vectorised, so promotion to registers, common subexpressions, jumps over
masks that are known and dead code are what pays; -O3 costs two to three times the compile time for nothing (0.9 to 1.1
of the run time, and far more where it undoes what was hidden from it on purpose).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import llvmlite.binding as llvm
import msgspec
from blake3 import blake3

from p2pcompute.compute.ptx.layout import ENTRY_POINT
from p2pcompute.errors import PtxError

ENGINE_VERSION: Final = "13"
"""Part of every cache key: raise it with any change of the generated code."""

_PASSES: Final = (
    "sroa",
    "instruction_combine",
    "simplify_cfg",
    "jump_threading",
    "new_gvn",
    "instruction_combine",
    "simplify_cfg",
    "aggressive_dce",
)
QUICK_TEXT_BYTES: Final = 2 << 20
"""LLVM text beyond which machine code is selected without care for registers and without numbering values, which take
minutes for some kernels of public suites: over 60 s for the 3.2 MB of 5,000 instructions on doubles, 4 s without.
"""
_NUMBERING: Final = "new_gvn"
_MAGIC: Final = b"p2pcpu04"
_DIGEST_BYTES: Final = 32


class Compiled(msgspec.Struct, frozen=True, array_like=True):
    """Machine code of a kernel and its helpers, the sizes its launcher must provide, and what it assumes of a launch
    (see `ranges`). `lanes`: of a team (see `teams`).
    """

    objects: tuple[bytes, ...]
    assumed: bytes
    lanes: int
    context_bytes: int
    local_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Processor:
    """What machine code is made for: LLVM's names of a CPU and of its features. The host runs code for lesser ones."""

    cpu: str
    features: str = ""

    def __str__(self) -> str:
        return f"{self.cpu} {self.features} llvm {llvm.llvm_version_info} engine {ENGINE_VERSION}"


@cache
def host() -> Processor:
    return Processor(llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())


@cache
def _target(processor: Processor, level: int) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=processor.cpu, features=processor.features, opt=level, reloc="pic", codemodel="small"
    )


def assemble(text: str, processor: Processor) -> bytes:
    """LLVM text to an object file."""
    is_quick = len(text) > QUICK_TEXT_BYTES
    machine = _target(processor, 0 if is_quick else 2)
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise PtxError(f"The engine cannot compile this kernel: {' '.join(str(error).split())[:200]}.") from error
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    manager = llvm.create_new_function_pass_manager()
    for name in (name for name in _PASSES if not (is_quick and name == _NUMBERING)):
        getattr(manager, f"add_{name}_pass")()
    for function in module.functions:
        if not function.is_declaration:
            manager.run(function, builder)
    return bytes(machine.emit_object(module))


class Loaded:
    """Object files linked into this process. `address` is that of `grid`; it is valid while this object lives."""

    def __init__(self, objects: Iterable[bytes]) -> None:
        module = llvm.parse_assembly("")
        self._engine = llvm.create_mcjit_compiler(module, _fresh_target())
        for code in objects:
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self.address: int = self._engine.get_function_address(ENTRY_POINT)


def _fresh_target() -> Any:
    """An engine owns its target machine."""
    _target(host(), 2)
    return llvm.Target.from_default_triple().create_target_machine()


def cache_key(*parts: str, processor: Processor) -> str:
    return blake3("\0".join((*parts, str(processor))).encode()).hexdigest()


def read_cached(directory: Path, key: str) -> Compiled | None:
    """None when there is no entry, or a damaged one."""
    try:
        data = (directory / f"{key}.o").read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    if not data.startswith(_MAGIC) or blake3(data[start:]).digest() != data[len(_MAGIC) : start]:
        return None
    return msgspec.msgpack.decode(data[start:], type=Compiled)


def write_cached(directory: Path, key: str, compiled: Compiled) -> None:
    """Atomic; a cache that cannot be written costs time, not correctness."""
    rest = msgspec.msgpack.encode(compiled)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        partial = directory / f"{key}.tmp"
        partial.write_bytes(_MAGIC + blake3(rest).digest() + rest)
        partial.replace(directory / f"{key}.o")
    except OSError:
        return
