"""One module, one text."""

from __future__ import annotations

import re

import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.running import DATA, HEADER

FILES = sorted(path.stem for path in DATA.glob("*.ptx"))


def canonical(body: str) -> str:
    return ptx.canonicalise(ptx.parse(f"{HEADER}.visible .entry k(.param .u64 p) {{\n{body}\n}}\n"))


@pytest.mark.parametrize("name", FILES)
def test_canonical_text_is_a_fixed_point(name: str) -> None:
    once = ptx.canonicalise(ptx.parse((DATA / f"{name}.ptx").read_text()))
    assert ptx.canonicalise(ptx.parse(once)) == once


@pytest.mark.parametrize("name", FILES)
def test_comments_lines_and_names_do_not_matter(name: str) -> None:
    text = (DATA / f"{name}.ptx").read_text()
    renamed = re.sub(r"%(r|rd|f|p|fd|rs)(\d|<)", r"%other_\1\2", text).replace("$L__BB", "$Label")
    noisy = renamed.replace(";", "; // why\n", 40).replace("\tret;", "\t.loc 1 2 3\n\tret; /* end\n */")
    assert ptx.canonicalise(ptx.parse(noisy)) == ptx.canonicalise(ptx.parse(text))


@pytest.mark.parametrize("operation", ["add", "sub", "mul"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_rounding_is_written_out(operation: str, kind: str) -> None:
    text = canonical(f".reg .{kind} %f<3>; {operation}.{kind} %f0, %f1, %f2; ret;")
    assert f"{operation}.rn.{kind} " in text


def test_entry_live_registers_start_as_zero() -> None:
    registers = ".reg .f32 %f<2>; .reg .pred %p; .reg .b64 %d;"
    text = canonical(f"{registers} @%p bra $x; mov.u64 %d, 1;\n$x: add.f32 %f0, %f1, %f1; st.u64 [%d], %d; ret;")
    assert "mov.pred %p0, 0;" in text
    assert "mov.f32 %f0, 0f00000000;" in text
    assert "mov.b64 %d0, 0;" in text


def test_variables_and_initial_values_survive() -> None:
    text = ".global .align 8 .f64 g[2] = {0d3FF0000000000000, 0d0000000000000000};\n.const .align 4 .u32 c = 7;\n"
    module = ptx.parse(f"{HEADER}{text}.visible .entry k() {{ ret; }}\n")
    again = ptx.parse(ptx.canonicalise(module))
    assert again.space_image("global") == module.space_image("global") != bytes(16)
    assert again.space_image("const") == (7).to_bytes(4, "little")
