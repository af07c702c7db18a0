"""`python -m tests.compute.ptx.coverage` writes docs/spec/ptx-coverage.md from the instruction table and the cases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from p2pcompute.compute.ptx.isa import FORMS, Form
from p2pcompute.compute.ptx.system import SIGNATURES
from tests.compute.ptx import conformance, vectors

PAGE = Path(__file__).parents[3] / "docs" / "spec" / "ptx-coverage.md"

ELSEWHERE = {
    "moves, loads and stores": "mov cvta ld st",
    "control flow, calls": "bra brx call ret exit trap",
    "lanes and warps": "shfl vote match activemask bar barrier membar fence nanosleep",
    "atomics": "atom red",
    "textures, against the interpreter": "tex",
    "approximate by definition": "div.approx div.full rcp.approx sqrt.approx rsqrt sin cos ex2 lg2 tanh",
}
"""Opcodes that are tested by kernels of their own rather than by rows of operands."""

REFUSED = {
    "bfloat16 and f8 arithmetic (sm_80 and later)": "cuda_bf16.h needs none at compute_75",
    "`min` `max` on halves, `fma.relu`, `add.f32` with mixed types": "need sm_80 or later",
    "`.ftz`": "the toolchain compiles with denormals; kept only where the instruction is approximate anyway",
    "`call` through a register, `.callprototype`, `.calltargets`": "indirect calls",
    "recursion, calls deeper than 128": "calls are expanded in place",
    "`malloc`, `free`, other runtime functions": "no heap on the device",
    "`tex` on cube maps, arrays of them and multisampled images, `tex.grad`, `tld4`, `txq`, texture references": (
        "hardly used; their rounding is nowhere written down"
    ),
    "`suld` `sust` `sured` `suq` `istypep`": "surfaces",
    "`wmma` `mma` `ldmatrix` `stmatrix` `movmatrix` `wgmma` `tcgen05`": "matrix units round as each GPU likes",
    "`barrier.cluster` `mapa` `getctarank` `griddepcontrol`, grid-wide waiting": "clusters and dependent launches",
    "`cp.async` `cp.reduce` `mbarrier` `prefetch` `multimem` `createpolicy` `discard` `applypriority` `isspacep`": (
        "need sm_80 or later, or nothing to gain on a CPU"
    ),
    "`redux` `elect` `bmsk` `szext` `fns` `mul24` `mad24` `pmevent` `brkpt` `alloca` `stacksave`": (
        "the compiler emits none for compute_75"
    ),
    "`vadd` `vsub` `vmin` `vmax` `vshl` `vshr` `vmad` `vset`, and `vabsdiff` with selectors": (
        "video instructions; the compiler emits only `vabsdiff2` and `vabsdiff4`"
    ),
    "`atom` and `red` with `.v2`, 128 bits, float `min` and `max`, bf16": "need sm_90",
    "`shfl` `vote` without `.sync`": "gone since sm_70",
}

ASSUMED = """## What the meanings rest on

No GPU has confirmed these results. They are computed from PTX ISA 8.4 by an oracle that shares no code with the engine
(`tests/compute/ptx/ieee.py`, `oracle.py`). `python -m tests.compute.ptx.vectors DIRECTORY` writes all cases, those of
memory, atomics, warps and barriers too, as PTX modules with what their buffers hold before and after, which a GPU can
run.

- **Said by the ISA**: IEEE arithmetic and rounding, saturation, f16 and f32 NaN bits, `min`/`max`, comparisons,
  carries, shifts and their clamping, `prmt`, `lop3`, bit fields, `bfind`, votes, matches, shuffles, `cvt` ranges, and
  NaN to integer (0, but the top bit alone where the source is f64 or the target has 64 bits).
- **Left open by the ISA, chosen here**: f64 NaN bits (`0xfff8000000000000`); integer division by zero (all ones);
  `INT_MIN / -1`; the value shuffled from an inactive lane; `brx.idx` beyond its list (a trap).
- **Recalled rather than looked up, to be confirmed first on a GPU**: `neg` and `abs` of a half keep a NaN's payload;
  `add.noftz.f16x2` is two separate atomics; `rc16` and the edge modes of `prmt`; the layout of `vprintf`'s arguments;
  a barrier counts whole warps.
"""


def _describe(form: Form) -> str:
    slots = []
    for slot in form.slots:
        choices = "\\|".join(sorted(slot.choices))
        slots.append(f"[.{choices}]" if slot.is_optional else f".{choices}")
    types = " ".join("." + "\\|".join(sorted(group)) for group in form.types)
    return f"`{' '.join([*slots, types]).strip() or '-'}`"


def page() -> str:
    rows = conformance.table()
    others = [case for vector in vectors.other_vectors() for case in vector.cases]
    named = Counter(name.partition(" ")[0].partition(".")[0] for name in (*(case.name for case in rows), *others))
    lines = [
        "# PTX instructions: covered and refused",
        "",
        "Made by `python -m tests.compute.ptx.coverage`; a test holds it to the code. Cases are rows of the",
        f"conformance table, each with {conformance.ROWS} operand rows (edges, random bits), on lanes that differ and",
        "on lanes that agree; of memory, atomics, lanes and barriers one instruction in one space, type and mode.",
        "",
        f"{sum(map(len, FORMS.values()))} forms over {len(FORMS)} opcodes; {len(rows)} and {len(others)} cases.",
        "",
        "| opcode | forms | cases |",
        "|---|---|---|",
    ]
    for opcode in sorted(FORMS):
        forms = "<br>".join(_describe(form) for form in FORMS[opcode])
        lines.append(f"| {opcode} | {forms} | {named[opcode] or 'kernels'} |")
    lines += [
        "",
        f"Runtime functions: {', '.join(f'`{name}`' for name in SIGNATURES)}; `brx.idx` becomes a chain of branches.",
    ]
    lines += ["", "Tested by kernels of their own:", ""]
    lines += [f"- {what}: {', '.join(f'`{name}`' for name in names.split())}" for what, names in ELSEWHERE.items()]
    lines += ["", "## Refused, by name and line, before anything runs", "", "| what | why |", "|---|---|"]
    lines += [f"| {what} | {why} |" for what, why in REFUSED.items()]
    return "\n".join([*lines, "", ASSUMED])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
