"""Random address arithmetic, as PTX text: formulas over thread and block numbers, each register written once.

That is the code in which scalars, lines, patterns and invariants are found (`uniform`, `patterns`, `invariants`,
`ranges`), including numbers that wrap. Formulas end in values that are stored and in indices of shared and global
memory, behind branches, in loops, on both sides of a barrier.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

SLOTS = 64
"""Words of shared memory and of the global table."""
NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 31, 32, 33, 63, 64, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
BINARY = ("add.s32", "sub.s32", "mul.lo.s32", "and.b32", "or.b32", "xor.b32")
SHIFTS = ("shl.b32", "shr.u32", "shr.s32")
UNARY = ("neg.s32", "not.b32", "brev.b32", "cvt.s32.s16", "cvt.u32.u16", "popc.b32")
TERNARY = ("mad.lo.s32", "mad.hi.u32", "min.s32", "max.u32", "selp")
"""min and max take two of the three; selp chooses by the third's low bit."""
WIDE_TERNARY = ("mad.wide.s32", "mad.wide.u32", "mad.lo.s64")
WIDE = ("cvt.s64.s32", "cvt.u64.u32", "mul.wide.s32", "mul.wide.u32")
WIDE_BINARY = ("add.s64", "sub.s64", "and.b64", "xor.b64")
WIDE_OPERATIONS = (*WIDE_BINARY, *WIDE_TERNARY, "cvt.u32.u64")


@dataclass(frozen=True)
class Step:
    """One instruction; `left` and `right` pick among what there is, modulo its number. `number` may stand for right."""

    operation: str
    left: int
    right: int
    number: int | None


steps = st.builds(
    Step,
    st.sampled_from([*BINARY, *BINARY, *SHIFTS, *UNARY, *TERNARY, *TERNARY, "bfi.b32", *WIDE, *WIDE, *WIDE_OPERATIONS]),
    st.integers(0, 30),
    st.integers(0, 30),
    st.none() | st.sampled_from(NUMBERS),
)


@dataclass(frozen=True)
class Formula:
    steps: tuple[Step, ...]
    index: int
    place: int
    guard: int
    bound: int
    is_looped: bool
    is_shared: bool


formulas = st.builds(
    Formula,
    st.lists(steps, min_size=1, max_size=12).map(tuple),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.sampled_from(NUMBERS),
    st.booleans(),
    st.booleans(),
)


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.narrow = ["%t", "%y", "%c", "%u"]
        self.wide: list[str] = []

    def new(self, *, wide: bool) -> str:
        names = self.wide if wide else self.narrow
        names.append(f"%{'w' if wide else 'n'}{len(names)}")
        return names[-1]

    def step(self, step: Step) -> None:
        name, narrow = step.operation, self.narrow[step.left % len(self.narrow)]
        other = str(step.number) if step.number is not None else self.narrow[step.right % len(self.narrow)]
        if name in WIDE_OPERATIONS:
            if not self.wide:
                return
            left, right = (self.wide[n % len(self.wide)] for n in (step.left, step.right))
            if name == "cvt.u32.u64":
                self.lines.append(f"cvt.u32.u64 {self.new(wide=False)}, {left};")
            elif name == "mad.lo.s64":
                self.lines.append(f"{name} {self.new(wide=True)}, {left}, {step.number or right}, {right};")
            elif name in WIDE_TERNARY:
                self.lines.append(f"{name} {self.new(wide=True)}, {narrow}, {other}, {left};")
            else:
                self.lines.append(f"{name} {self.new(wide=True)}, {left}, {step.number or right};")
        elif name in WIDE:
            right = f", {other}" if name.startswith("mul") else ""
            self.lines.append(f"{name} {self.new(wide=True)}, {narrow}{right};")
        elif name.startswith("cvt") and name in UNARY:
            self.lines.append(f"cvt.u16.u32 %half, {narrow}; {name} {self.new(wide=False)}, %half;")
        elif name in UNARY:
            self.lines.append(f"{name} {self.new(wide=False)}, {narrow};")
        elif name in TERNARY:
            third = self.narrow[(step.left + step.right) % len(self.narrow)]
            if name == "selp":
                self.lines.append(f"and.b32 %k, {third}, 1; setp.ne.u32 %p, %k, 0;")
                self.lines.append(f"selp.b32 {self.new(wide=False)}, {narrow}, {other}, %p;")
            else:
                last = f", {third}" if name.startswith("mad") else ""
                self.lines.append(f"{name} {self.new(wide=False)}, {narrow}, {other}{last};")
        elif name == "bfi.b32":
            place, length = step.right % 20, step.left % 12
            self.lines.append(f"bfi.b32 {self.new(wide=False)}, {narrow}, {other}, {place}, {length};")
        elif name in SHIFTS:
            self.lines.append(f"{name} {self.new(wide=False)}, {narrow}, {(step.number or step.right) % 32};")
        else:
            self.lines.append(f"{name} {self.new(wide=False)}, {narrow}, {other};")


def text(formula: Formula) -> tuple[str, str, str]:
    """Body, declarations, and what stands before the kernel. Buffers: a table of SLOTS words, then results."""
    writer = _Writer()
    for step in formula.steps:
        writer.step(step)
    index, place, guard = (writer.narrow[n % len(writer.narrow)] for n in (formula.index, formula.place, formula.guard))
    memory = "shared" if formula.is_shared else "global"
    base = "add.s64 %a, %a, %base;" if formula.is_shared else "add.s64 %a, %a, %in0;"
    start = "mov.u64 %base, slots;" if formula.is_shared else ""

    def address(name: str) -> str:
        return f"and.b32 %k, {name}, {SLOTS - 1}; mul.wide.u32 %a, %k, 4; {base}"

    turn = f"""{address("%l")} @%g st.{memory}.u32 [%a], %s; bar.sync 0; {address(place)} ld.{memory}.u32 %v, [%a];
    add.u32 %s, %s, %v; bar.sync 0;"""
    if formula.is_looped:
        turn = f"mov.u32 %i, 0; $again: {turn} add.s32 %l, %l, {formula.bound}; add.u32 %i, %i, 1; "
        turn += "setp.lt.u32 %p, %i, 3; @%p bra $again;"
    results = [*writer.narrow[-4:], "%s"]
    results += [f"%h{n}" for n, _ in enumerate(writer.wide[-2:])]
    halves = "".join(f"shr.u64 %a, {name}, 32; cvt.u32.u64 %h{n}, %a;" for n, name in enumerate(writer.wide[-2:]))
    stores = "".join(f"st.global.u32 [%o+{4 * n}], {name};" for n, name in enumerate(results))
    body = f"""mov.u32 %y, %tid.y; ld.global.u32 %u, [%in0+8]; bar.sync 0;
    {" ".join(writer.lines)} {start} mov.u32 %l, {index}; mov.u32 %s, {place};
    setp.lt.s32 %g, {guard}, {formula.bound % 64}; {turn} {halves}
    mov.u32 %k, %ntid.x; mad.lo.u32 %k, %y, %k, %t; mov.u32 %x, %ntid.y; mov.u32 %z, %ntid.x; mul.lo.u32 %x, %x, %z;
    mad.lo.u32 %k, %c, %x, %k; mul.wide.u32 %o, %k, {4 * RESULTS}; add.s64 %o, %in1, %o; {stores}"""
    registers = f""".reg .b32 %y, %u, %k, %l, %v, %s, %i, %x, %z, %h<2>, %n<{len(writer.narrow) + 1}>;
    .reg .b64 %a, %o, %base, %w<{len(writer.wide) + 1}>; .reg .pred %p, %g;
    .reg .b16 %half;"""
    return body, registers, f".shared .align 4 .b8 slots[{4 * SLOTS}];"


RESULTS = 8
