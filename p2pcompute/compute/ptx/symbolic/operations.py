"""What one instruction makes of what is known of its operands.

Additions, subtractions and products are kept modulo the register's width, where polynomials are exact. Wherever PTX
reads a register as a signed or unsigned number (widening, comparing, dividing, shifting right) the analysis must know
that it does not wrap there; if it does not know, the result is an unknown number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from p2pcompute.compute.ptx.ir import (
    Address,
    Entry,
    Immediate,
    Instruction,
    Module,
    Negated,
    Operand,
    Register,
    Special,
    Symbol,
)
from p2pcompute.compute.ptx.symbolic.polynomial import TERMS_MAX, Monomial, Poly
from p2pcompute.compute.ptx.symbolic.ranges import Facts, Interval, hull
from p2pcompute.compute.ptx.symbolic.value import (
    Both,
    Comparison,
    Condition,
    Either,
    Number,
    Unknown,
    Value,
    negated,
)
from p2pcompute.compute.ptx.symbolic.world import ANYWHERE, VARIABLE, WINDOW, World
from p2pcompute.compute.ptx.types import TYPES

_COMPARED: Final[Mapping[str, tuple[str, bool | None]]] = MappingProxyType(
    {"eq": ("eq", None), "ne": ("ne", None), "lo": ("lt", False), "ls": ("le", False), "hi": ("gt", False),
     "hs": ("ge", False), **{name: (name, None) for name in ("lt", "le", "gt", "ge")}}
)  # fmt: skip
"""PTX comparison -> operation, and the signedness that it fixes."""
_SPECIAL_RANGES: Final[Mapping[str, Interval]] = {"laneid": (0, 31), "warpid": (0, 31)}


@dataclass(frozen=True, slots=True)
class State:
    """Registers and facts at one place. A register that is missing is unknown."""

    registers: Mapping[str, Value] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)


class Operations:
    """Evaluates instructions of one kernel, in one world."""

    def __init__(self, module: Module, entry: Entry, world: World) -> None:
        self._module = module
        self._entry = entry
        self._world = world
        self._rules: Mapping[str, Callable[[Instruction, State], Poly | None]] = {
            "add": lambda i, s: self._poly(i, s, 0) + self._poly(i, s, 1),
            "sub": lambda i, s: self._poly(i, s, 0) - self._poly(i, s, 1),
            "neg": lambda i, s: self._poly(i, s, 0).scaled(-1),
            "not": lambda i, s: Poly.constant(-1) - self._poly(i, s, 0),
            "mov": self._move,
            "cvta": self._to_address,
            "cvt": self._convert,
            "mul": self._multiply,
            "mad": self._multiply,
            "shl": self._shift_left,
            "shr": self._shift_right,
            "and": self._and,
            "or": self._or,
            "div": self._divide,
            "rem": self._divide,
            "min": self._least_or_greatest,
            "max": self._least_or_greatest,
        }

    # Reading -----------------------------------------------------------------------------------------------------

    def number(self, operand: Operand, state: State, line: int) -> Poly:
        """A polynomial congruent to the operand."""
        match operand:
            case Register(name, type_name):
                value = state.registers.get(name)
                if isinstance(value, Number):
                    return value.poly
                return self._unknown((line, name), TYPES[type_name].bits)
            case Immediate(value):
                return Poly.constant(value)
            case Symbol(name, offset):
                variable = self._entry.variables.get(name) or self._module.variables[name]
                return Poly.symbol(f"{VARIABLE}{variable.space} {name}") + Poly.constant(offset)
            case Special(name) if name.partition(".")[0] in ("tid", "ntid", "ctaid", "nctaid"):
                return self._world.symbol(name)
            case Special(name):
                if name in _SPECIAL_RANGES:
                    self._world.ranges.symbols[name] = _SPECIAL_RANGES[name]
                    return Poly.symbol(name)
        return self._unknown((line, str(operand)), 64)

    def condition(self, operand: Operand, state: State) -> Condition:
        match operand:
            case Register(name):
                value = state.registers.get(name)
                return Unknown() if value is None or isinstance(value, Number) else value
            case Negated(register):
                return negated(self.condition(register, state))
            case _:
                return Unknown()

    def decided(self, condition: Condition, facts: Facts) -> bool | None:
        """Whether a condition holds always or never here; None where it may do either."""
        if not isinstance(condition, Comparison):
            return None
        low, high = self._world.ranges.of(condition.poly, facts)
        if low is None or high is None or low > high:
            return None
        holds = {_holds(condition.operation, low), _holds(condition.operation, high)}
        if condition.operation in ("eq", "ne") and low != high:
            return None if low <= 0 <= high else condition.operation == "ne"
        return holds.pop() if len(holds) == 1 else None

    def address(self, address: Address, state: State, line: int) -> Poly:
        return self.number(address.base, state, line) + Poly.constant(address.offset_bytes)

    def _poly(self, ins: Instruction, state: State, place: int) -> Poly:
        return self.number(ins.sources[place], state, ins.line)

    def _integer(self, ins: Instruction, state: State, place: int, type_name: str) -> Poly | None:
        """The operand as the number that this type makes of it."""
        kind = TYPES[type_name]
        number = Number(self._poly(ins, state, place), kind.bits)
        return self._world.integer(number, state.facts, signed=kind.is_signed)

    def _range(self, poly: Poly, state: State) -> Interval:
        return self._world.ranges.of(poly, state.facts)

    def _unknown(self, key: object, bits: int) -> Poly:
        return Poly.symbol(self._world.born(key, "unknown", (0, (1 << bits) - 1), ANYWHERE))

    # Evaluating --------------------------------------------------------------------------------------------------

    def results(self, ins: Instruction, state: State, block: int) -> dict[str, Value]:
        """The new value of every register that the instruction writes, if its guard lets it."""
        if ins.opcode == "setp":
            return self._compare(ins, state)
        if ins.opcode == "selp" and not TYPES[ins.types[0]].is_float:
            bits = TYPES[ins.types[0]].bits
            sides: list[Value | None] = [Number(self._poly(ins, state, place), bits) for place in (0, 1)]
            decided = self.decided(self.condition(ins.sources[2], state), state.facts)
            either = merged(self._world, sides, ins.line, block) if decided is None else sides[0 if decided else 1]
            return {register.name: either for register in ins.writes() if either is not None}
        found: dict[str, Value] = {}
        for place, register in enumerate(ins.writes()):
            kind = TYPES[register.type_name]
            if kind.kind == "p":
                found[register.name] = self._logic(ins, state)
            elif not kind.is_float:
                poly = self._result(ins, state) if place == 0 else None
                if poly is None or len(poly.terms) > TERMS_MAX:
                    extent = self._extent(ins, kind.bits)
                    poly = Poly.symbol(self._world.born((ins.line, place), "unknown", extent, block))
                found[register.name] = Number(poly, kind.bits)
        return found

    def _extent(self, ins: Instruction, bits: int) -> Interval:
        """Of an unknown result, taken as unsigned; narrow loads and the like fill the upper bits."""
        if ins.opcode in ("ld", "cvt") and ins.types and not TYPES[ins.types[0]].is_signed:
            bits = min(bits, TYPES[ins.types[0]].bits)
        return {"popc": (0, 64), "clz": (0, 64)}.get(ins.opcode, (0, (1 << bits) - 1))

    def _result(self, ins: Instruction, state: State) -> Poly | None:
        if ins.opcode == "ld" and ins.modifier("space") == "param":
            return self._parameter(ins)
        is_plain = ins.types and not TYPES[ins.types[0]].is_float and ins.modifier("carry") is None
        rule = self._rules.get(ins.opcode)
        if rule is None or not is_plain or ins.has("sat") or TYPES[ins.types[0]].kind == "p":
            return None
        return rule(ins, state)

    def _parameter(self, ins: Instruction) -> Poly | None:
        address, kind = ins.sources[0], TYPES[ins.types[0]]
        if not isinstance(address, Address) or not isinstance(address.base, Symbol) or ins.modifier("vec"):
            return None
        parameter = self._entry.parameter(address.base.name)
        if parameter is None or kind.is_float:
            return None
        offset = parameter.offset_bytes + address.offset_bytes
        world = self._world
        if kind.bits == 64 and offset in world.pointers:
            return Poly.symbol(world.pointers[offset])
        if world.parameters is not None:
            data = world.parameters[offset : offset + kind.size_bytes]
            return Poly.constant(int.from_bytes(data, "little", signed=kind.is_signed))
        name = parameter.name + (f"+{address.offset_bytes}" if address.offset_bytes else "")
        half = 1 << (kind.bits - 1)
        is_signed = kind.is_signed or kind.bits >= 32  # wider ones are read both ways; most are signed
        world.ranges.symbols[name] = (-half, half - 1) if is_signed else (0, 2 * half - 1)
        return Poly.symbol(name)

    # Rules -------------------------------------------------------------------------------------------------------

    def _move(self, ins: Instruction, state: State) -> Poly | None:
        source = ins.sources[0]
        return self._poly(ins, state, 0) if isinstance(source, Register | Immediate | Special | Symbol) else None

    def _to_address(self, ins: Instruction, state: State) -> Poly:
        poly = self._poly(ins, state, 0)
        space = ins.modifier("space")
        if space not in ("shared", "local"):
            return poly
        window = Poly.symbol(f"{WINDOW}{space}")
        return poly - window if ins.modifier("to") else poly + window

    def _convert(self, ins: Instruction, state: State) -> Poly | None:
        to, given = ins.types[0], ins.types[1]
        if TYPES[given].is_float:
            return None
        register = next(iter(ins.writes()), None)
        width = TYPES[register.type_name].bits if register is not None else TYPES[to].bits
        if TYPES[to].bits < width:
            return self._integer(ins, state, 0, to) if TYPES[to].bits <= TYPES[given].bits else None
        if TYPES[to].bits <= TYPES[given].bits:
            return self._poly(ins, state, 0)
        return self._integer(ins, state, 0, given)

    def _multiply(self, ins: Instruction, state: State) -> Poly | None:
        factors: list[Poly | None]
        if ins.has("hi"):
            return None
        if ins.has("wide"):
            factors = [self._integer(ins, state, place, ins.types[0]) for place in (0, 1)]
        else:
            factors = [self._poly(ins, state, 0), self._poly(ins, state, 1)]
        left, right = factors
        if left is None or right is None or len(left.terms) * len(right.terms) > TERMS_MAX:
            return None
        product = left * right
        return product + self._poly(ins, state, 2) if ins.opcode == "mad" else product

    def _shift_left(self, ins: Instruction, state: State) -> Poly | None:
        by = self._poly(ins, state, 1).value
        return self._poly(ins, state, 0).scaled(1 << by) if by is not None and 0 <= by < 64 else None

    def _shift_right(self, ins: Instruction, state: State) -> Poly | None:
        by, kind = self._poly(ins, state, 1).value, ins.types[0]
        poly = self._integer(ins, state, 0, kind)
        if poly is None or by is None or not 0 <= by < TYPES[kind].bits:
            return None
        return self._quotient(poly, 1 << by, state)

    def _quotient(self, poly: Poly, divisor: int, state: State) -> Poly:
        """Rounded down."""
        whole, rest = _divided(poly, divisor)
        low, high = self._range(rest, state)
        if low is not None and high is not None and low // divisor == high // divisor:
            return whole + Poly.constant(low // divisor)
        return whole + Poly.symbol(self._quotient_symbol(rest, divisor))

    def _quotient_symbol(self, poly: Poly, divisor: int) -> str:
        """One symbol wherever it is computed: its interval may rest on nothing but the symbols' own."""
        low, high = self._world.ranges.plain(poly)
        ends = tuple(None if end is None else end // divisor for end in (low, high))
        return self._world.function("quotient", (poly,), (ends[0], ends[1]), divisor)

    def _remainder(self, poly: Poly, divisor: int, state: State) -> Poly:
        """Of the division that rounds down: never negative."""
        world, poly = self._world, _divided(poly, divisor)[1]
        low, high = self._range(poly, state)
        if low is not None and high is not None and low // divisor == high // divisor:
            return poly - Poly.constant(low // divisor * divisor)
        name = world.function("remainder", (poly,), (0, divisor - 1), divisor)
        world.remainders[name] = (poly, divisor, self._quotient_symbol(poly, divisor))
        return Poly.symbol(name)

    def _divide(self, ins: Instruction, state: State) -> Poly | None:
        poly, by = self._integer(ins, state, 0, ins.types[0]), self._integer(ins, state, 1, ins.types[0])
        divisor = None if by is None else by.value
        if poly is None or divisor is None or divisor <= 0:
            return None
        low, _ = self._range(poly, state)
        if low is None or low < 0:
            return None
        return self._quotient(poly, divisor, state) if ins.opcode == "div" else self._remainder(poly, divisor, state)

    def _and(self, ins: Instruction, state: State) -> Poly | None:
        for place in (0, 1):
            mask, poly = self._poly(ins, state, place).value, self._poly(ins, state, 1 - place)
            if mask is None:
                continue
            bits = TYPES[ins.types[0]].bits
            mask %= 1 << bits
            if mask & (mask + 1) == 0:
                return self._low_bits(poly, mask.bit_length(), bits, state)
            gap = (~mask) % (1 << bits)
            if gap & (gap + 1) == 0:
                low = self._low_bits(poly, gap.bit_length(), bits, state)
                return None if low is None else poly - low
        return None

    def _low_bits(self, poly: Poly, count: int, bits: int, state: State) -> Poly | None:
        """The polynomial is congruent modulo 2**bits, so its low bits are those of the register."""
        return poly if count == bits else self._remainder(poly, 1 << count, state)

    def _or(self, ins: Instruction, state: State) -> Poly | None:
        """A sum, where one side is a multiple of a power of two and the other smaller than that."""
        sides = self._poly(ins, state, 0), self._poly(ins, state, 1)
        for high, low in (sides, sides[::-1]):
            least, most = self._range(low, state)
            if least is None or most is None or least < 0:
                continue
            step = 1 << most.bit_length()
            if step < 1 << TYPES[ins.types[0]].bits and all(factor % step == 0 for _, factor in high.terms):
                return high + low
        return None

    def _least_or_greatest(self, ins: Instruction, state: State) -> Poly | None:
        kind = ins.types[0]
        sides = [self._integer(ins, state, place, kind) for place in (0, 1)]
        if sides[0] is None or sides[1] is None:
            return None
        (a, b), (c, d) = (self._world.ranges.plain(side) for side in sides if side is not None)
        if a is None or b is None or c is None or d is None:
            return None
        ends = (min(a, c), min(b, d)) if ins.opcode == "min" else (max(a, c), max(b, d))
        return Poly.symbol(self._world.function(ins.opcode, (sides[0], sides[1]), ends))

    # Predicates --------------------------------------------------------------------------------------------------

    def _compare(self, ins: Instruction, state: State) -> dict[str, Value]:
        targets = list(ins.writes())
        result = self._combined(ins, self._comparison(ins, state), state)
        found: dict[str, Value] = {register.name: Unknown() for register in targets}
        if targets and targets[0] == ins.destinations[0]:
            found[targets[0].name] = result
        return found

    def _comparison(self, ins: Instruction, state: State) -> Condition:
        kind = TYPES[ins.types[0]]
        operation, signed = _COMPARED.get(ins.modifier("cmp") or "", ("", None))
        if kind.is_float or not operation:
            return Unknown()
        signedness = kind.is_signed if signed is None else signed
        for is_signed in (signedness,) if operation not in ("eq", "ne") else (True, False):
            sides = [
                self._world.integer(Number(self._poly(ins, state, place), kind.bits), state.facts, signed=is_signed)
                for place in (0, 1)
            ]
            if sides[0] is not None and sides[1] is not None:
                return Comparison(operation, sides[0] - sides[1])
        return Unknown()

    def _combined(self, ins: Instruction, condition: Condition, state: State) -> Condition:
        operation = ins.modifier("bool")
        if operation is None or len(ins.sources) < 3:
            return condition
        return _joined(operation, condition, self.condition(ins.sources[2], state))

    def _logic(self, ins: Instruction, state: State) -> Condition:
        if ins.types != ("pred",):
            return Unknown()
        sides = [self.condition(source, state) for source in ins.sources]
        if ins.opcode == "mov":
            return sides[0]
        if ins.opcode == "not":
            return negated(sides[0])
        return _joined(ins.opcode, sides[0], sides[1]) if ins.opcode in ("and", "or") else Unknown()


def _holds(operation: str, value: int) -> bool:
    return {
        "eq": value == 0, "ne": value != 0, "lt": value < 0, "le": value <= 0, "gt": value > 0, "ge": value >= 0
    }[operation]  # fmt: skip


def _divided(poly: Poly, divisor: int) -> tuple[Poly, Poly]:
    """poly = divisor * first + second, where the second keeps no term that the divisor divides."""
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, factor in poly.terms:
        times, left = divmod(factor, divisor)
        if left and monomial:
            times, left = 0, factor
        whole[monomial], rest[monomial] = times, left
    return Poly.of(whole), Poly.of(rest)


def _joined(operation: str, left: Condition, right: Condition) -> Condition:
    if operation == "and":
        return Both(left, right)
    return Either(left, right) if operation == "or" else Unknown()


def merged(world: World, values: list[Value | None], key: object, block: int) -> Value | None:
    """What a register holds that may be any of these: what they have in common, plus an unknown rest."""
    first = values[0]
    if all(value == first for value in values):
        return first
    numbers = [value for value in values if isinstance(value, Number)]
    if len(numbers) != len(values):
        return Unknown() if not numbers and None not in values else None
    common = dict(numbers[0].poly.terms)
    for number in numbers[1:]:
        common = {m: f for m, f in common.items() if number.poly.factor(m) == f}
    shared = Poly.of(common)
    extent = hull(world.ranges.plain(number.poly - shared) for number in numbers)
    return Number(shared + Poly.symbol(world.born(key, "either", extent, block)), numbers[0].bits)
