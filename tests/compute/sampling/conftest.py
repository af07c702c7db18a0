"""The kernels that the provers are tried on, compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from p2pcompute.compute import ptx
from p2pcompute.compute.compiler import Compiler

SOURCE = Path(__file__).with_name("kernels.cu")
BENCH = Path(__file__).parents[2] / "bench" / "ptx_kernels"


@pytest.fixture(scope="session")
def modules() -> Mapping[str, ptx.Module]:
    """`small` (kernels.cu) and each kernel of the benchmark `ptx`, by name."""
    files = {"small": SOURCE, **{path.stem: path for path in sorted(BENCH.glob("*.cu"))}}
    found: dict[str, ptx.Module] = {}

    async def compile_all() -> None:
        async with Compiler() as compiler:
            for name, path in files.items():
                found[name] = ptx.parse((await compiler.compile({"k.cu": path.read_text()}, "k.cu")).ptx)

    trio.run(compile_all)
    return found


@pytest.fixture(scope="session")
def kernels(modules: Mapping[str, ptx.Module]) -> ptx.Module:
    """tests/compute/sampling/kernels.cu"""
    return modules["small"]


def alone(module: ptx.Module, entry: str) -> ptx.Module:
    """A module of one of its kernels."""
    return ptx.Module(module.version, module.target, {entry: module.entries[entry]}, {}, module.variables)
