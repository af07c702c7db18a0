"""The twins for PoCL and numba fit the frozen list, and a peer that is missing says what to type."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trio

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.grid import module_text
from p2pcompute.compute.ptx.lower import lower
from p2pcompute.compute.ptx.uniform import Layout
from tests.bench import opencl, ptx_cases, ptx_peers, ptx_rivals
from tests.bench.ptx_unchecked import without_range_tests
from tests.bench.registry import MissingPeerError

CASES = {case.name: case for case in ptx_cases.read(["saxpy", *ptx_rivals.TWINS])}


@pytest.mark.parametrize("name", ptx_rivals.TWINS)
def test_every_opencl_twin_takes_the_kernels_arguments(name: str) -> None:
    source = (ptx_cases.HERE / "ptx_opencl" / f"{name}.cl").read_text()
    head = re.search(rf"__kernel void {name}\(([^)]*)\)", source)
    assert head
    is_buffer = ["__global" in parameter for parameter in head[1].split(",")]
    assert is_buffer == [isinstance(argument, np.ndarray) for argument in CASES[name].arguments]


@pytest.mark.parametrize("name", ptx_rivals.TWINS)
def test_every_numba_twin_takes_the_kernels_arguments(name: str) -> None:
    tree = ast.parse((ptx_cases.HERE / "ptx_numba.py").read_text())
    (twin,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    is_buffer = [ast.unparse(one.annotation) == "Array" for one in twin.args.args if one.annotation]
    assert is_buffer == [isinstance(argument, np.ndarray) for argument in CASES[name].arguments]


def test_no_opencl_twin_is_left_out() -> None:
    assert {path.stem for path in (ptx_cases.HERE / "ptx_opencl").iterdir()} == set(ptx_rivals.TWINS)


@pytest.mark.parametrize("name", sorted(ptx_rivals.INSTALL))
def test_a_missing_peer_is_an_error_that_says_what_to_type(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tmp_path / "python"
    without.write_text('#!/bin/sh\necho \'{"missing": "not there"}\'\n')
    without.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without))
    with pytest.raises(MissingPeerError) as caught, ptx_rivals.running(name):
        pass
    assert str(caught.value).endswith(f"{name} (not there); type: {ptx_rivals.INSTALL[name]}")


def test_a_peer_that_cannot_start_says_so_on_its_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> Callable[[ptx_cases.Case], ptx_peers.Opened]:
        raise ImportError("No module named 'numba'")

    monkeypatch.setitem(ptx_peers.PEERS, "numba", absent)
    ptx_peers.main("numba")
    assert capsys.readouterr().out == '{"missing": "No module named \'numba\'"}\n'


def test_a_machine_without_opencl_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencl, "LIBRARY", "libOpenCL-absent.so.1")
    with pytest.raises(opencl.OpenClError, match=r"libOpenCL-absent.so.1 cannot be loaded"):
        opencl.Pocl()


@pytest.fixture(scope="module")
def saxpy() -> ptx.Module:
    texts = trio.run(ptx_cases.ptx_texts, [CASES["saxpy"]])
    return ptx.parse(texts["saxpy"])


def _llvm(module: ptx.Module) -> str:
    block = CASES["saxpy"].block
    return module_text(lower(module, module.entries["saxpy"], block), Layout(block))


def test_range_tests_are_left_out_only_inside(saxpy: ptx.Module) -> None:
    with without_range_tests():
        inside = _llvm(saxpy)
    assert "and i1 true, true" in inside  # both windows
    assert "and i1 true, true" not in _llvm(saxpy)


def test_the_bits_are_the_same_without_range_tests(saxpy: ptx.Module) -> None:
    case = CASES["saxpy"]
    outputs = []
    for way in (ptx.compile_entry(saxpy, case.name, case.block), _unchecked(saxpy, case)):
        arguments = case.fresh()
        ptx_cases.kernel_call(way, case, arguments, 1)()
        outputs.append(arguments)
    assert ptx_cases.differing(case, *outputs) == []


def _unchecked(module: ptx.Module, case: ptx_cases.Case) -> ptx.CompiledKernel:
    with without_range_tests():
        return ptx.compile_entry(module, case.name, case.block)
