"""The page of covered and refused instructions says what the code does."""

from __future__ import annotations

import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.isa import FORMS
from p2pcompute.errors import PtxError
from tests.compute.ptx import conformance, coverage
from tests.compute.ptx.running import HEADER


def test_page_is_current() -> None:
    assert coverage.PAGE.read_text(encoding="utf-8") == coverage.page(), "run: python -m tests.compute.ptx.coverage"


def test_every_opcode_is_in_the_table_of_cases_or_named_as_tested_elsewhere() -> None:
    tested = {case.name.partition(".")[0] for case in conformance.table()}
    tested |= {name.partition(".")[0] for names in coverage.ELSEWHERE.values() for name in names.split()}
    assert set(FORMS) - tested == {"mad", "madc"} - tested


REFUSED = """
suld.b.2d.b32.trap {%r}, [%d, {%r, %r}];
sust.b.2d.b32.trap [%d, {%r, %r}], {%r};
wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r, %r}, [%d], %r;
mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f}, {%r}, {%r}, {%f};
call (%r), %d, (%r);
cp.async.ca.shared.global [%r], [%d], 16;
redux.sync.add.s32 %r, %r, -1;
fma.rn.bf16 %h, %h, %h, %h;
add.ftz.f32 %f, %f, %f;
shfl.idx.b32 %r, %r, 0, 31;
atom.global.add.noftz.bf16 %h, [%d], %h;
alloca.u64 %d, 8;
barrier.cluster.arrive;
mul24.lo.u32 %r, %r, %r;
vadd.s32.s32.s32 %r, %r, %r;
prefetch.global.L2 [%d];
isspacep.global %p, %d;
min.f16 %h, %h, %h;
elect.sync %r|%p, -1;
atom.global.min.f32 %f, [%d], %f;
brkpt;
tld4.r.2d.v4.f32.f32 {%f}, [%d, {%f}];
tex.cube.v4.f32.f32 {%f, %f, %f, %f}, [%d, {%f, %f, %f, %f}];
tex.grad.2d.v4.f32.f32 {%f, %f, %f, %f}, [%d, {%f, %f}], {%f, %f}, {%f, %f};
"""


@pytest.mark.parametrize("instruction", REFUSED.split("\n")[1:-1])
def test_what_is_refused_names_its_line(instruction: str) -> None:
    registers = ".reg .b64 %d; .reg .b32 %r; .reg .f32 %f; .reg .b16 %h; .reg .pred %p;"
    text = f"{HEADER}.visible .entry k() {{\n{registers}\n{instruction}\nret; }}\n"
    with pytest.raises(PtxError, match="line 6") as caught:
        ptx.compile_entry(ptx.parse(text), "k", (32, 1, 1))
    assert instruction.split()[0].rstrip(";") in str(caught.value)
