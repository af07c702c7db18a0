"""The parser is an allow-list: it names line and construct of what it does not know; nothing else escapes it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.compute import ptx
from p2pcompute.errors import PtxError
from p2pcompute.wire.limits import PTX_BYTES_MAX
from tests.compute.ptx.running import DATA, HEADER, module

TEXTS = {path.stem: path.read_text() for path in sorted(DATA.glob("*.ptx"))}


def entry(body: str, parameters: str = "") -> str:
    return f"{HEADER}.visible .entry k({parameters}) {{\n{body}\n}}\n"


def test_entries_and_parameters_are_described() -> None:
    saxpy = module("saxpy").entries["saxpy"]
    assert [(p.type_name, p.size_bytes, p.align_bytes, p.offset_bytes) for p in saxpy.parameters] == [
        ("f32", 4, 4, 0),
        ("u64", 8, 8, 8),
        ("u64", 8, 8, 16),
        ("u32", 4, 4, 24),
    ]
    assert saxpy.parameter_bytes == 28
    assert module("blockwise").entries["matmul"].shared_bytes == 2048
    assert module("spaces").entries["structs"].parameters[0].size_bytes == 24


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        (".reg .b32 %r<2>;\nfoo.u32 %r0, %r1;", 6, "'foo.u32' is not supported"),
        (".reg .b32 %r<2>;\nadd.u32 %r0, %r1, %r5;", 6, "'%r5' is not declared"),
        (".reg .b32 %r<2>;\nadd.u32 %r0, %r1;", 6, "expected ','"),
        (".reg .b32 %r<2>;\nadd.u32 %r0, %r1, 1, 2;", 6, "unexpected ','"),
        (".reg .b64 %d<2>;\nadd.u32 %d0, %d1, 1;", 6, "is .b64, the operand .u32"),
        (".reg .f32 %f<2>;\nadd.u32 %f0, %f1, 1;", 6, "is .f32, the operand .u32"),
        (".reg .b32 %r;\nmov.u32 7, %r;", 6, "a result that is not a register"),
        ("bra $nowhere;", 5, "label '$nowhere' is not defined"),
        ("$a:\n$a:\nret;", 6, "defined twice"),
        (".reg .b32 %r;\n.reg .b32 %r;", 6, "declared twice"),
        (".reg .b128 %r;", 5, "register type '.b128' is not supported"),
        (".shared .align 3 .b8 s[4];", 5, "not a power of two"),
        (".shared .b8 s[1000000];", 5, "exceeds"),
        (".reg .b32 %r<999999999>;", 5, "outside"),
        ("call.uni f;", 5, "function 'f' is not defined"),
        (".reg .f32 %f;\nmov.f32 %f, 1;", 6, "the integer 1 where .f32 is needed"),
        (".reg .b32 %r;\nld.global.u32 %r, [%r+99999999999];", 6, "offset"),
        ("\x00", 5, "unexpected character"),
    ],
)
def test_what_is_not_known_is_refused_by_line_and_name(body: str, line: int, what: str) -> None:
    with pytest.raises(PtxError) as caught:
        ptx.parse(entry(body))
    assert f"line {line}" in str(caught.value)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", ".version", ".version 8.4", ".version 8.4\n.target sm_75\n.address_size 32", HEADER + "{", HEADER + ".entry"],
)
def test_incomplete_files_are_refused(text: str) -> None:
    with pytest.raises(PtxError):
        ptx.parse(text)


def test_textures_are_refused_by_name() -> None:
    with pytest.raises(PtxError, match=r"line 4: '.tex' is not supported"):
        ptx.parse(HEADER + ".tex .u64 image;\n")


def test_oversize_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(PtxError, match="limit"):
        ptx.parse(" " * (PTX_BYTES_MAX + 1))


def test_deep_scopes_are_refused() -> None:
    with pytest.raises(PtxError, match="nested scopes"):
        ptx.parse(entry("{" * 100 + "}" * 100))


def test_registers_of_scopes_do_not_meet() -> None:
    body = ".reg .b32 %r; mov.u32 %r, 1; { .reg .b64 %r; mov.u64 %r, 2; } mov.u32 %r, 3; ret;"
    names = [register.name for ins in ptx.parse(entry(body)).entries["k"].instructions() for register in ins.writes()]
    assert names == ["%r", "%r$1", "%r"]


WORDS = sorted({word for text in TEXTS.values() for word in text.split()})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_text_raises_nothing_but_ptx_error(data: st.DataObject) -> None:
    text = TEXTS[data.draw(st.sampled_from(sorted(TEXTS)))]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 1, 3, 20, 200]))
        new = data.draw(
            st.sampled_from(WORDS)
            | st.text(max_size=8)
            | st.sampled_from(["{", "}", ";", "[", "0x", "%", "-", "9" * 30])
        )
        text = text[:start] + new + text[start + length :]
    try:
        parsed = ptx.parse(text)
        for name in parsed.entries:
            ptx.classify(parsed, name)
        assert ptx.canonicalise(ptx.parse(ptx.canonicalise(parsed))) == ptx.canonicalise(parsed)
    except PtxError:
        pass


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_kernels_of_shuffled_instructions_compile_or_are_refused(data: st.DataObject) -> None:
    """Well-formed lines in any order: what parses either compiles or raises PtxError; it is never run here."""
    lines = TEXTS["control"].splitlines()
    start = next(n for n, line in enumerate(lines) if "nested" in line and ".entry" in line)
    body = next(n for n, line in enumerate(lines) if n > start and line.strip().startswith("ld.param"))
    end = next(n for n, line in enumerate(lines) if n > body and line.startswith("}"))
    mixed = data.draw(st.permutations(lines[body:end]))[: data.draw(st.integers(5, 60))]
    labels = [line for line in lines[body:end] if line.strip().endswith(":") and line not in mixed]
    text = "\n".join([*lines[:body], *mixed, *labels, *lines[end:]])
    try:
        ptx.compile_entry(ptx.parse(text), "nested", (32, 1, 1))
    except PtxError:
        pass


@pytest.mark.parametrize(
    "instruction",
    [
        "setp.lo.f32 %p, %f, %f;",
        "setp.equ.s32 %p, %r, %r;",
        "set.hs.u32.f32 %r, %f, %f;",
        "cvt.rzi.f64.f32 %d, %f;",
    ],
)
def test_a_form_that_ptx_does_not_have_is_refused_by_line(instruction: str) -> None:
    registers = ".reg .pred %p;\n.reg .f32 %f;\n.reg .b32 %r;\n.reg .f64 %d;\n"
    text = f"{HEADER}.visible .entry k()\n{{\n{registers}{instruction}\nret;\n}}\n"
    with pytest.raises(PtxError, match="line 9"):
        ptx.compile_entry(ptx.parse(text), "k", (32, 1, 1))


def test_loops_that_overlap_are_refused() -> None:
    """A program that the test of shuffled instructions found once."""
    with pytest.raises(PtxError, match="irreducible"):
        ptx.compile_entry(module("refused/overlapping_loops"), "nested", (32, 1, 1))
