"""Every atomic operation on every type and space: lanes act in order, and each gets what was there before it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compute.ptx import conformance
from tests.compute.ptx.atomic_vectors import OPERATIONS, expected, values_of
from tests.compute.ptx.running import body_kernel, run

PLACE = {
    "global": "mov.u64 %c, %in2;",
    "shared": "mov.u64 %c, cell;",
    "generic global": "mov.u64 %c, %in2;",
    "generic shared": "mov.u64 %c, cell; cvta.shared.u64 %c, %c;",
}


@pytest.mark.parametrize("place", sorted(PLACE))
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_lanes_act_in_order(name: str, place: str) -> None:
    kind = OPERATIONS[name]
    width = conformance.bits(kind)
    space = "" if place.startswith("generic") else f".{place}"
    before = f"and.b{width} %w, %v, 1; shl.b{width} %w, %w, 1;" if name.startswith("cas") else ""
    passed = "%w, %v" if name.startswith("cas") else "%v"
    body = f"""mul.wide.u32 %o, %t, {width // 8}; add.s64 %a, %in0, %o; ld.global.b{width} %v, [%a]; {before}
    {PLACE[place]} atom{space}.{name} %r, [%c], {passed}; add.s64 %a, %in1, %o; st.global.b{width} [%a], %r;
    ld{space}.b{width} %r, [%c]; st.global.b{width} [%in2], %r;"""
    registers = f".reg .b64 %a, %o, %c; .reg .b{width} %v, %w, %r; .shared .align 8 .b8 cell[8];"
    unsigned = np.dtype(f"u{width // 8}")
    values = values_of(kind)
    old, final = np.zeros(32, unsigned), np.zeros(1, unsigned)
    run(body_kernel(body, 3, registers), (1, 1, 1), np.array(values, unsigned), old, final)
    now, seen = 0, []
    for value in values:
        seen.append(now)
        now = expected(name, kind, now, value)
    assert (old.tolist(), final[0]) == (seen, now)
