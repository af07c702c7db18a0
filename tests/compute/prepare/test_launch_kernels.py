"""Kernels that nobody describes are launched: on arguments that fit them, in a child, against the interpreter."""

from __future__ import annotations

import pytest

from p2pcompute.compute import ptx
from tests.compute.prepare.invented import fields, shape
from tests.compute.prepare.launch_kernels import launch_all
from tests.compute.ptx.running import DATA, HEADER, module

BEYOND = """.visible .entry beyond(.param .u64 p) { .reg .b64 %a; .reg .b32 %r; ld.param.u64 %a, [p];
st.global.u32 [%a+1048576], %r; ret; }
.visible .entry endless_for_no_one(.param .u32 n) { .reg .b32 %r; .reg .pred %p; ld.param.u32 %r, [n];
$again: sub.u32 %r, %r, 1; setp.ne.u32 %p, %r, 0; @%p bra $again; ret; }"""


def test_arguments_are_read_off_the_code() -> None:
    canonical = ptx.parse(ptx.canonicalise(module("saxpy")))
    found = fields(canonical.entries["saxpy"])
    assert sorted(found.pointers.values()) == ["f32", "f32"]
    assert sorted(kind for offset, kind in found.plain.items() if offset not in found.pointers) == ["f32", "u32"]
    assert shape(canonical.entries["saxpy"]) == ((128, 1, 1), (2, 1, 1))


@pytest.mark.parametrize("name", ["saxpy", "calls", "textures"])
def test_kernels_finish_with_the_interpreters_bits(name: str) -> None:
    results = launch_all((DATA / f"{name}.ptx").read_text())
    assert {result.entry for result in results} == set(module(name).entries)
    assert {result.outcome for result in results} == {"finished"}
    assert {result.compared for result in results} <= {"same", "open", "long"}


def test_a_kernel_that_leaves_its_buffer_is_told_from_one_that_finishes() -> None:
    beyond, other = launch_all(HEADER + BEYOND)
    assert (beyond.outcome, beyond.compared) == ("trapped", "agreed")
    assert (other.outcome, other.compared) == ("finished", "same")
