"""Addresses as formulas."""

from __future__ import annotations

import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.symbolic import Facts, Poly, SymbolicAccess, addresses, launch_world
from p2pcompute.compute.ptx.symbolic.ranges import Ranges
from tests.compute.ptx.interpret.checking import body
from tests.compute.ptx.running import module

REGISTERS = ".reg .b32 %x, %y, %n; .reg .b64 %a; .reg .pred %p, %q;"


def _of(text: str, **launch: object) -> list[SymbolicAccess]:
    source = ptx.parse(ptx.canonicalise(body(text, registers=REGISTERS)))
    entry = source.entries["k"]
    world = launch_world((4, 1, 1), (32, 1, 1), bytes(8), {0: "buffer p0"}) if launch else None
    return addresses(source, entry, world)


def test_saxpy_reads_like_its_source() -> None:
    source = ptx.parse(ptx.canonicalise(module("saxpy")))
    found = addresses(source, source.entries["saxpy"])
    assert [(a.kind, a.size_bytes, a.base, str(a.offset)) for a in found] == [
        ("load", 4, "saxpy_param_1", "4*ctaid.x*ntid.x + 4*tid.x"),
        ("load", 4, "saxpy_param_2", "4*ctaid.x*ntid.x + 4*tid.x"),
        ("store", 4, "saxpy_param_2", "4*ctaid.x*ntid.x + 4*tid.x"),
    ]
    assert found[2].guards == ("ctaid.x*ntid.x - saxpy_param_3 + tid.x <= -1",)


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("shl.b32 %x, %t, 3; or.b32 %x, %x, 5;", "8*tid.x + 5"),
        ("mad.lo.u32 %x, %c, 32, %t; shr.u32 %x, %x, 3;", "4*ctaid.x + quotient#0"),
        ("mad.lo.u32 %x, %c, 32, %t; and.b32 %x, %x, 31;", "tid.x"),
        ("mul.lo.u32 %x, %c, 6; div.u32 %x, %x, 3;", "2*ctaid.x"),
        ("not.b32 %x, %t; neg.s32 %x, %x;", "tid.x + 1"),
        ("sub.u32 %x, %c, %c; add.u32 %x, %x, 7;", "7"),
        ("min.u32 %x, %t, 40; sub.u32 %x, %x, %x;", "0"),
    ],
)
def test_integer_instructions_keep_their_formula(text: str, offset: str) -> None:
    (access,) = _of(f"{text} cvt.u64.u32 %a, %x; add.u64 %a, %a, %in0; st.global.u8 [%a], %t;", launch=True)
    assert str(access.offset) == offset


def test_what_may_wrap_when_widened_is_unknown() -> None:
    (access,) = _of("mul.lo.u32 %x, %t, 0x10000000; mad.wide.u32 %a, %x, 4, %in0; st.global.u8 [%a], %t;", launch=True)
    assert "tid.x" not in access.offset.symbols()


LOOP = """
    mov.u32 %n, 0; mov.u64 %a, %in0;
AGAIN:
    st.global.u8 [%a], %t;
    add.u64 %a, %a, 12; add.u32 %n, %n, 1;
    setp.ne.u32 %p, %n, 5; @%p bra AGAIN;
"""


def test_a_loop_counts_its_turns_and_knows_how_many() -> None:
    (access,) = _of(LOOP, launch=True)
    (turn,) = access.offset.symbols()
    assert access.offset == Poly.symbol(turn).scaled(12)
    assert access.facts.bounds[Poly.symbol(turn)] == 4


def test_a_register_stepped_under_a_condition_is_unknown() -> None:
    (access, _) = _of(
        """mov.u32 %n, 0; mov.u64 %a, %in0;
        AGAIN: st.global.u8 [%a], %t; ld.global.u8 %y, [%in0];
        setp.eq.u32 %q, %y, 0; @%q add.u64 %a, %a, 12;
        add.u32 %n, %n, 1; setp.ne.u32 %p, %n, 5; @%p bra AGAIN;""",
        launch=True,
    )
    assert access.base == "p0"
    assert str(access.offset).startswith("loop#")


def test_negated_and_joined_guards_are_facts() -> None:
    (access,) = _of(
        """setp.gt.u32 %p, %t, 9; setp.lt.or.u32 %q, %t, 3, %p; @%q bra OUT;
        st.global.u8 [%in0], %t; OUT:""",
        launch=True,
    )
    ranges = Ranges({"tid.x": (0, 31)})
    assert ranges.of(Poly.symbol("tid.x"), access.facts) == (3, 9)


def test_alternatives_are_no_facts() -> None:
    (access,) = _of("setp.lt.u32 %p, %t, 3; setp.gt.or.u32 %q, %t, 9, %p; @%q st.global.u8 [%in0], %t;", launch=True)
    assert access.facts.bounds == {}


def test_facts_round_to_whole_numbers() -> None:
    tid = Poly.symbol("tid.x")
    facts = Facts().holding(tid.scaled(4) + Poly.constant(2), 9)
    assert facts.bounds == {tid: 1}


def test_facts_of_two_ways_are_the_weaker_of_both() -> None:
    tid, other = Poly.symbol("tid.x"), Poly.symbol("n")
    left = Facts().holding(tid, 3).holding(other, 1)
    assert left.common(Facts().holding(tid, 8)).bounds == {tid: 8}
