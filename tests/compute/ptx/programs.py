"""Random structured programs, as PTX text.

Registers are assigned on all sides of branches and reused across loops, which is what divergence analysis can get
wrong; NVRTC's own output, close to SSA, hardly ever does that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

REGISTERS = 5
LOOP_STEPS_MAX = 6


@dataclass(frozen=True)
class Assign:
    target: int
    operation: str
    left: int
    right: int | str


@dataclass(frozen=True)
class If:
    compare: str
    left: int
    right: int | str
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True)
class Loop:
    """Runs while a register's low bits exceed a counter; `counter` is a register of its own."""

    bound: int
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Leave:
    """break, continue or return; outside a loop the first two are nothing."""

    how: str


@dataclass(frozen=True)
class Exchange:
    """Add this thread's slot of memory to a register and store the register there: loads and stores in divergent
    places.
    """

    register: int


@dataclass(frozen=True)
class Guarded:
    """A predicated assignment."""

    compare: str
    left: int
    right: int | str
    assign: Assign


Statement = Assign | If | Loop | Leave | Exchange | Guarded

_register = st.integers(0, REGISTERS - 1)
_operand = st.one_of(_register, st.integers(0, 9).map(str), st.sampled_from(["%t", "%ctaid.x", "%laneid"]))
_compare = st.sampled_from(["eq", "ne", "lt", "gt", "le", "ge"])
_assign = st.builds(
    Assign, _register, st.sampled_from(["add", "sub", "mul.lo", "xor", "and", "min", "shl", "mov"]), _register, _operand
)
_simple = st.one_of(
    _assign,
    _assign,
    st.builds(Exchange, _register),
    st.builds(Leave, st.sampled_from(["break", "continue", "break", "return"])),
    st.builds(Guarded, _compare, _register, _operand, _assign),
)


def _blocks(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    several = st.lists(inner, min_size=1, max_size=4).map(tuple)
    return st.one_of(
        st.builds(If, _compare, _register, _operand, several, st.just(()) | several),
        st.builds(Loop, _register, several),
    )


programs: st.SearchStrategy[tuple[Statement, ...]] = st.lists(
    st.recursive(_simple, _blocks, max_leaves=25), min_size=2, max_size=8
).map(tuple)


@dataclass
class Writer:
    """PTX of a program. Registers start as %r0 = tid, %r1 = ctaid, %r2 = 0, %r3 = laneid * 3, %r4 = 7; all are stored
    at the end.
    """

    lines: list[str] = field(default_factory=list)
    counters: int = 0
    labels: int = 0

    def operand(self, value: int | str) -> str:
        if isinstance(value, int):
            return f"%r{value}"
        if value.startswith("%") and value != "%t":
            self.lines.append(f"mov.u32 %s, {value};")
            return "%s"
        return value

    def condition(self, statement: If | Guarded) -> None:
        right = self.operand(statement.right)
        self.lines.append(f"setp.{statement.compare}.s32 %p, %r{statement.left}, {right};")

    def assign(self, statement: Assign, guard: str = "") -> None:
        right, operation = self.operand(statement.right), statement.operation
        kind = "b32" if operation in ("xor", "and", "shl") else "s32"
        sources = right if operation == "mov" else f"%r{statement.left}, {right}"
        self.lines.append(f"{guard}{operation}.{kind} %r{statement.target}, {sources};")

    def write(self, body: tuple[Statement, ...], loop: tuple[str, str] | None) -> None:
        for statement in body:
            match statement:
                case Assign():
                    self.assign(statement)
                case Guarded():
                    self.condition(statement)
                    self.assign(statement.assign, "@%p ")
                case Exchange(register):
                    self.lines += [f"ld.global.u32 %s, [%slot]; add.u32 %r{register}, %r{register}, %s;"]
                    self.lines += [f"st.global.u32 [%slot], %r{register};"]
                case Leave("return"):
                    self.lines.append("bra $store;")
                case Leave(how):
                    if loop is not None:
                        self.lines.append(f"bra {loop[0] if how == 'break' else loop[1]};")
                case If():
                    self._if(statement, loop)
                case Loop():
                    self._loop(statement)

    def _if(self, statement: If, loop: tuple[str, str] | None) -> None:
        self.labels += 1
        otherwise, end = f"$else{self.labels}", f"$end{self.labels}"
        self.condition(statement)
        self.lines.append(f"@!%p bra {otherwise};")
        self.write(statement.then, loop)
        self.lines += [f"bra {end};", f"{otherwise}:"]
        self.write(statement.otherwise, loop)
        self.lines.append(f"{end}:")

    def _loop(self, statement: Loop) -> None:
        self.labels += 1
        head, step, end, counter = (f"${name}{self.labels}" for name in ("head", "step", "done", "c"))
        counter = f"%c{self.counters}"
        self.counters += 1
        self.lines += [f"and.b32 %s, %r{statement.bound}, {LOOP_STEPS_MAX - 1}; mov.u32 {counter}, %s;", f"{head}:"]
        self.lines += [f"setp.eq.u32 %p, {counter}, 0; @%p bra {end};"]
        self.write(statement.body, (end, step))
        self.lines += [f"{step}: sub.u32 {counter}, {counter}, 1; bra {head};", f"{end}:"]


def text(program: tuple[Statement, ...]) -> tuple[str, str]:
    """Body and register declarations of a kernel that stores its registers at in1 + 20 * thread; slots are at in0 + 4
    * thread.
    """
    writer = Writer()
    writer.lines += [
        "mov.u32 %s, %ctaid.x; mov.u32 %n, %ntid.x; mad.lo.u32 %id, %s, %n, %t; mul.wide.u32 %slot, %id, 4;"
    ]
    writer.lines += ["add.s64 %slot, %slot, %in0; mul.wide.u32 %out, %id, 20; add.s64 %out, %out, %in1;"]
    writer.lines += [
        "mov.u32 %r0, %t; mov.u32 %r1, %s; mov.u32 %r2, 0; mov.u32 %s, %laneid; mul.lo.u32 %r3, %s, 3; mov.u32 %r4, 7;"
    ]
    writer.write(program, None)
    writer.lines.append("$store:")
    writer.lines += [f"st.global.u32 [%out+{4 * n}], %r{n};" for n in range(REGISTERS)]
    registers = (
        f".reg .pred %p; .reg .b32 %s, %n, %id, %r<{REGISTERS}>, %c<{max(writer.counters, 1)}>; .reg .b64 %slot, %out;"
    )
    return "\n".join(writer.lines), registers
