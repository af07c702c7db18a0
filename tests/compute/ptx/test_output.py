"""printf and assert in kernels: what they say, how much of it is kept, and how it travels in canonical PTX."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import layout, output
from p2pcompute.errors import PtxError
from tests.compute.ptx.running import HEADER, body_kernel, kernel, launch, module


def test_printf_formats_like_c_in_order_of_blocks() -> None:
    p = np.arange(32, dtype=np.int32)
    result = launch(kernel("printing", "speak", (32, 1, 1)), (2, 1, 1), p, np.float32(1.5))
    assert result.status is ptx.Status.OK
    assert result.log.splitlines() == [
        f"{block}.{i}: {i:3d}|7    |ff|-5000000000|{1.5 * i:5.2f}|ab    |z|%|1.000000e-10|-003.500|{i:4d}"
        for block in (0, 1)
        for i in (3, 19)
    ]


def test_failed_assertion_names_file_line_function_and_place() -> None:
    p = np.full(64, 8, np.int32)
    p[41] = 3
    result = launch(kernel("printing", "checked", (64, 1, 1)), (1, 1, 1), p)
    assert result.trap is not None
    assert (result.trap.kind, result.trap.thread) == (ptx.TrapKind.ASSERTION, (41, 0, 0))
    where = "block: [0, 0, 0], thread: [41, 0, 0]"
    assert result.log == f"printing.cu:15: half_of: {where} Assertion `v % 2 == 0` failed.\n"


def test_flood_is_cut_and_says_so() -> None:
    result = launch(kernel("printing", "flood", (32, 1, 1)), (1, 1, 1), np.int32(10**5), threads=1)
    lines = result.log.splitlines(keepends=True)
    assert len(lines) == layout.LOG_RECORDS + 1
    assert lines[-1] == output.MORE


def test_used_result_of_printf_is_not_exact() -> None:
    assert not ptx.classify(module("printing"), "counted").exact
    assert ptx.classify(module("printing"), "speak").exact


def test_canonical_text_keeps_the_calls_and_is_a_fixed_point() -> None:
    text = ptx.canonicalise(module("printing"))
    assert ".extern .func (.param .b32 r) vprintf(.param .b64 a0, .param .b64 a1);" in text
    assert "call (r), vprintf, (a0, a1);" in text
    assert ptx.canonicalise(ptx.parse(text)) == text


CALL = """{ .param .b64 a; st.param.b64 [a], %in0; .param .b64 b; st.param.b64 [b], %in1; .param .b32 r;
call.uni (r), vprintf, (a, b); ld.param.b32 %v, [r]; }"""
DECLARED = ".extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n"


@pytest.mark.parametrize("address", [0, 8, 2**63, 1 << 40, 2 << 40, 5 << 40, (5 << 40) + 4, 2**64 - 1])
def test_wild_pointers_print_as_nothing_of_ours(address: int) -> None:
    compiled = body_kernel(CALL, 2, ".reg .b32 %v;", extra=DECLARED)
    memory = ptx.Memory([np.full(4, ord("x"), np.uint8)])
    result = compiled.launch(
        memory, np.array([address] * 2, np.uint64).tobytes(), (1, 1, 1), threads=1, abort=ptx.Abort()
    )
    assert result.status is ptx.Status.OK
    assert result.log == ("xxxx" if address == 5 << 40 else "?") * 32


@pytest.mark.parametrize(
    "broken",
    [("call", "add.s64 %in0, %in0, 1; call"), ("[a]", "[a+8]"), ("[r]", "[b]"), ("(a, b)", "(b, a)")],
)
def test_arguments_passed_in_another_way_are_refused(broken: tuple[str, str]) -> None:
    with pytest.raises(PtxError, match=r"PTX line \d+: the arguments of 'vprintf'"):
        body_kernel(CALL.replace(*broken), 2, ".reg .b32 %v;", extra=DECLARED)


def test_function_of_that_name_in_the_module_is_called_instead() -> None:
    own = ".func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b) { st.param.b32 [r], 7; ret; }\n"
    out = np.zeros(32, np.uint32)
    compiled = body_kernel(CALL + " st.global.u32 [%in0], %v;", 2, ".reg .b32 %v;", extra=own)
    result = launch(compiled, (1, 1, 1), out, np.zeros(1, np.uint8))
    assert (out[0], result.log) == (7, "")


def test_other_runtime_functions_are_refused_by_name() -> None:
    text = f"{HEADER}.extern .func (.param .b64 r) malloc (.param .b64 a);\n.visible .entry k() {{\n"
    text += "{ .param .b64 a; st.param.b64 [a], 8; .param .b64 r; call.uni (r), malloc, (a); }\nret; }"
    with pytest.raises(PtxError, match="line 6: function 'malloc' is not defined"):
        ptx.parse(text)


@given(form=st.text(), passed=st.binary(max_size=96))
def test_no_format_fails_or_grows_without_bound(form: str, passed: bytes) -> None:
    text = output.formatted(form, passed, lambda address: "s")
    assert len(text) <= len(form) + form.count("%") * (output.WIDTH_MAX + 400)


@pytest.mark.parametrize(
    ("form", "passed", "expected"),
    [
        ("%hhd %hu", struct.pack("<ii", 300, -1), "44 65535"),
        ("%i %ld", struct.pack("<iiq", -1, 0, -2), "-1 -2"),
        ("%+d % d %#x %#o %05d", struct.pack("<5i", 1, 2, 255, 8, -42), "+1  2 0xff 010 -0042"),
        ("%.3d %8.3s|%-8s|", struct.pack("<iiQQ", 7, 0, 1, 2), "007      tex|text    |"),
        ("%g %G %f", struct.pack("<3d", 1e-5, 1e20, float("-inf")), "1e-05 1E+20 -inf"),
        ("%d %d", struct.pack("<i", 5), "5 ?"),
        ("%", b"", "%"),
        ("%q %", b"", "%q %"),
    ],
)
def test_formats(form: str, passed: bytes, expected: str) -> None:
    assert output.formatted(form, passed, lambda address: "text") == expected
