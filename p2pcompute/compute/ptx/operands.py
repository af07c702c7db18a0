"""The words of one instruction -> a typed Instruction, checked against the table and the declared registers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from p2pcompute.compute.ptx.ir import (
    Address,
    Entry,
    Group,
    Immediate,
    Instruction,
    Label,
    Module,
    Negated,
    Operand,
    Register,
    Sink,
    Special,
    Statement,
    Symbol,
    Texel,
    Variable,
)
from p2pcompute.compute.ptx.isa import FORMS, Form
from p2pcompute.compute.ptx.types import TYPES, WIDER
from p2pcompute.errors import PtxError

SPECIALS: Final[dict[str, str]] = {
    **{f"{name}.{axis}": "u32" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"},
    **dict.fromkeys(("laneid", "warpid", "nwarpid", "smid", "nsmid", "clock", "clock_hi", "gridid"), "u32"),
    **dict.fromkeys(("lanemask_eq", "lanemask_lt", "lanemask_le", "lanemask_gt", "lanemask_ge"), "u32"),
    **dict.fromkeys(("clock64", "globaltimer"), "u64"),
}
_INTEGER: Final = re.compile(r"(0[xX][0-9a-fA-F]{1,16}|0[bB][01]{1,64}|\d{1,20})U?", re.ASCII)
_F32: Final = re.compile(r"0[fF][0-9a-fA-F]{8}", re.ASCII)
_F64: Final = re.compile(r"0[dD][0-9a-fA-F]{16}", re.ASCII)
_NARROWING: Final = frozenset({"ld", "st", "cvt"})
"""Opcodes whose register may be wider than the operand type (PTX ISA 9.4, operand size exceeding instruction-type
size).
"""
OFFSET_MAX: Final = 2**31 - 1
_COORDINATES: Final = {"1d": 1, "2d": 2, "3d": 4, "a1d": 2, "a2d": 4}
"""How many a texture instruction spells by its geometry: the layer first, and one that means nothing to make four (PTX
ISA 9.7.10.3).
"""


class Scope:
    """Names visible at one place of a body. Registers of nested scopes get names of their own, so that the body is
    flat.
    """

    def __init__(self, module: Module, entry: Entry) -> None:
        self._module = module
        self.entry = entry
        self._names: list[dict[str, Register | Variable | str]] = [{}]
        self._suffix = [""]
        self._used: dict[str, int] = {}
        self._defined: set[str] = set()
        self._fresh = 0

    def enter(self, number: int) -> None:
        self._names.append({})
        self._suffix.append(f"${number}")

    def leave(self) -> None:
        self._names.pop()
        self._suffix.pop()

    def declare_register(self, name: str, type_name: str, line: int) -> None:
        self._declare(name, Register(name + self._suffix[-1], type_name), line)

    def declare_variable(self, variable: Variable, line: int) -> Variable:
        renamed = replace(variable, name=variable.name + self._suffix[-1])
        self._declare(variable.name, renamed, line)
        self.entry.variables[renamed.name] = renamed
        return renamed

    def _declare(self, name: str, item: Register | Variable, line: int) -> None:
        if name in self._names[-1] or (name[1:] in SPECIALS and name[0] == "%"):
            raise PtxError(f"PTX line {line}: '{name}' is declared twice.")
        self._names[-1][name] = item

    def fresh_predicate(self) -> Register:
        self._fresh += 1
        return Register(f"%index {self._fresh}", "pred")

    def define_label(self, name: str, line: int) -> str:
        if name in self._defined:
            raise PtxError(f"PTX line {line}: label '{name}' is defined twice.")
        self._defined.add(name)
        return name

    def use_label(self, name: str, line: int) -> Label:
        self._used.setdefault(name, line)
        return Label(name)

    def check_labels(self, line: int) -> None:
        for name, where in self._used.items():
            if name not in self._defined:
                raise PtxError(f"PTX line {where}: label '{name}' is not defined in the entry of line {line}.")

    def find(self, name: str) -> Register | Variable | None:
        for names in reversed(self._names):
            found = names.get(name)
            if isinstance(found, Register | Variable):
                return found
        return self._module.variables.get(name)


def parse_instruction(words: list[str], line: int, scope: Scope) -> Instruction:
    """Raises PtxError naming the line and the instruction."""
    return _InstructionParser(words, line, scope).parse()


def indexed_branch(words: list[str], line: int, scope: Scope, lists: dict[str, list[str]]) -> list[Statement]:
    """`@p brx.idx index, list` as a chain of comparisons and branches; an index beyond the list is a trap.

    Names with a space cannot be in a text, so the new ones meet no others.
    """
    guard = words[: words.index("brx.idx")]
    rest = words[len(guard) + 1 :]
    if len(rest) != 3 or rest[1] != "," or rest[2] not in lists:
        raise PtxError(f"PTX line {line}: 'brx.idx' needs a register and a list of branch targets.")
    chosen = scope.fresh_predicate()
    past = f"{chosen.name} past"
    statements: list[Statement] = []
    if guard:
        skip = parse_instruction([*guard, "bra", lists[rest[2]][0]], line, scope)
        statements.append(replace(skip, sources=(Label(past),), guard_negated=not skip.guard_negated))
    for number, target in enumerate(lists[rest[2]]):
        test = parse_instruction(["setp.eq.u32", "_", ",", rest[0], ",", str(number)], line, scope)
        jump = parse_instruction(["bra", target], line, scope)
        statements += [replace(test, destinations=(chosen,)), replace(jump, guard=chosen)]
    return [*statements, parse_instruction(["trap"], line, scope), *([Label(past)] if guard else [])]


class _InstructionParser:
    def __init__(self, words: list[str], line: int, scope: Scope) -> None:
        self._words = words
        self._place = 0
        self._at = line
        self._scope = scope
        self._spelling = words[0][:60]
        self._geometry = ""

    def _fail(self, what: str) -> PtxError:
        return PtxError(f"PTX line {self._at}: {what} in '{self._spelling}'.")

    def _peek(self) -> str:
        return self._words[self._place] if self._place < len(self._words) else ""

    def _next(self) -> str:
        word = self._peek()
        if not word:
            raise self._fail("an operand is missing")
        self._place += 1
        return word

    def _accept(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._place += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._fail(f"expected '{text}', found '{self._peek()[:40]}'")

    def parse(self) -> Instruction:
        guard, negated = None, False
        if self._accept("@"):
            negated = self._accept("!")
            guard = self._register(self._next(), "pred")
        self._spelling = self._next()[:60]
        if self._spelling in ("call", "call.uni"):
            return self._call(guard is not None)
        opcode, *suffixes = self._spelling.split(".")
        form, modifiers, types = self._form(opcode, tuple(suffixes))
        vector = next((int(value[1]) for name, value in modifiers if name == "vec"), 1)
        self._geometry = dict(modifiers).get("geometry", "")
        operands: list[tuple[Operand, str]] = []
        split = 0
        for position, kind in enumerate((*form.destinations, *form.sources)):
            if position == len(form.destinations):
                split = len(operands)
            operands.extend(self._one(kind, types, vector, len(operands)))
        if len(form.sources) == 0:
            split = len(operands)
        if self._place != len(self._words):
            raise self._fail(f"unexpected '{self._peek()[:40]}'")
        self._check_places([operand for operand, _ in operands], split)
        values, names = tuple(operand for operand, _ in operands), tuple(name for _, name in operands)
        return Instruction(
            opcode,
            modifiers,
            types,
            values[:split],
            values[split:],
            names[:split],
            names[split:],
            self._at,
            guard,
            negated,
        )

    def _call(self, is_guarded: bool) -> Instruction:
        """`call (result), function, (arguments)`: sources are the function, as a label, and the arguments."""
        if is_guarded:
            raise self._fail("a guard is not supported")
        results = self._parameter_names() if self._peek() == "(" else []
        if results:
            self._expect(",")
        name = self._next()
        if isinstance(self._scope.find(name), Register):
            raise self._fail("an indirect call is not supported")
        arguments = self._parameter_names() if self._accept(",") else []
        if self._place != len(self._words):
            raise self._fail(f"unexpected '{self._peek()[:40]}'")
        sources: tuple[Operand, ...] = (Label(name), *arguments)
        types = ("param",) * len(results), ("label", *("param",) * len(arguments))
        return Instruction("call", (), (), tuple(results), sources, *types, self._at)

    def _parameter_names(self) -> list[Symbol]:
        self._expect("(")
        names: list[Symbol] = []
        while not self._accept(")"):
            if names:
                self._expect(",")
            word = self._next()
            found = self._scope.find(word)
            if isinstance(found, Variable):
                names.append(Symbol(found.name))
            elif self._scope.entry.parameter(word) is not None:
                names.append(Symbol(word))
            else:
                raise self._fail(f"'{word[:40]}' is not a parameter variable")
        return names

    def _check_places(self, operands: list[Operand], split: int) -> None:
        """Only registers and sinks are written; a sink is never read."""
        for position, operand in enumerate(operands):
            for item in operand.items if isinstance(operand, Group) else (operand,):
                if position < split and not isinstance(item, Register | Sink | Address):
                    raise self._fail("a result that is not a register")
                if position >= split and isinstance(item, Sink):
                    raise self._fail("'_' where a value is read")

    def _form(
        self, opcode: str, suffixes: tuple[str, ...]
    ) -> tuple[Form, tuple[tuple[str, str], ...], tuple[str, ...]]:
        for form in FORMS.get(opcode, ()):
            matched = form.match(suffixes)
            if matched is not None:
                return form, *matched
        raise PtxError(f"PTX line {self._at}: instruction '{self._spelling}' is not supported.")

    def _one(self, kind: str, types: tuple[str, ...], vector: int, count: int) -> list[tuple[Operand, str]]:
        """The operand of one signature word, with its type; nothing when an optional one is absent."""
        if kind == "pred|":
            if not self._accept("|"):
                return []
            return [(self._destination("pred"), "pred")]
        if kind.endswith("?"):
            if not self._accept(","):
                return []
            kind = kind[:-1]
        elif count:
            self._expect(",")
        type_name = {
            "T": types[0] if types else "",
            "S": types[-1] if types else "",
            "X": types[0] if types else "",
        }.get(kind, kind)
        if kind == "W":
            type_name = WIDER[types[0]]
        if kind == "addr":
            return [(self._address(), "addr")]
        if kind == "texel":
            return [(self._texel(types[-1]), kind)]
        if kind == "label":
            return [(self._scope.use_label(self._next(), self._at), "label")]
        if kind == "X" and vector > 1:
            return [(self._group(type_name, vector), type_name)]
        if kind == "any":
            return [(self._any(types[0]), types[0])]
        return [(self._value(type_name), type_name)]

    def _any(self, type_name: str) -> Operand:
        if self._peek() == "{":
            if type_name not in ("b32", "b64"):
                raise self._fail("a group where none may stand")
            count = 4 if type_name == "b64" and self._words[self._place + 2 : self._place + 7 : 2] == [","] * 3 else 2
            return self._group(f"b{TYPES[type_name].bits // count}", count)
        word = self._peek()
        found = self._scope.find(word)
        parameter = self._scope.entry.parameter(word) if found is None else None
        if isinstance(found, Variable) or parameter is not None:
            self._place += 1
            offset = 0
            if self._accept("+"):
                offset = self._integer(self._next())
            is_argument = isinstance(found, Variable) and found.space == "param"
            if is_argument or type_name not in ("u32", "u64", "b32", "b64", "s32", "s64"):
                raise self._fail(f"the address of '{word}' does not fit")
            if parameter is not None and self._spelling.startswith("cvta"):
                raise self._fail(f"the generic address of parameter '{word}' is not supported")
            return Symbol(found.name if isinstance(found, Variable) else word, offset)
        return self._value(type_name)

    def _group(self, type_name: str, count: int) -> Group:
        self._expect("{")
        items: list[Operand] = []
        for index in range(count):
            if index:
                self._expect(",")
            items.append(self._value(type_name))
        self._expect("}")
        return Group(tuple(items))

    def _address(self) -> Address:
        self._expect("[")
        word = self._next()
        base: Register | Symbol | Immediate
        found = self._scope.find(word)
        parameter = self._scope.entry.parameter(word)
        if isinstance(found, Register):
            if TYPES[found.type_name].kind not in "bus" or TYPES[found.type_name].bits < 32:
                raise self._fail(f"'{word[:40]}' cannot hold an address")
            base = found
        elif found is not None:
            base = Symbol(found.name)
        elif parameter is not None:
            base = Symbol(parameter.name)
        elif _INTEGER.fullmatch(word):
            base = Immediate(self._integer(word))
        else:
            raise self._fail(f"'{word[:40]}' is not declared")
        offset = 0
        if self._accept("+"):
            negative = self._accept("-")
            offset = self._integer(self._next())
            offset = -offset if negative else offset
        elif self._accept("-"):
            offset = -self._integer(self._next())
        self._expect("]")
        if abs(offset) > OFFSET_MAX:
            raise self._fail("an address offset beyond 31 bits")
        return Address(base, offset)

    def _texel(self, type_name: str) -> Texel:
        """`[handle, {coordinates}]`, or without braces where there is one."""
        self._expect("[")
        handle = self._value("u64")
        self._expect(",")
        count, braced = _COORDINATES[self._geometry], self._accept("{")
        found: list[Operand] = []
        for index in range(count):
            if index:
                self._expect(",")
            is_layer = index == 0 and self._geometry.startswith("a")
            found.append(self._value("u32" if is_layer else type_name))
        if braced or count > 1:
            self._expect("}")
        self._expect("]")
        if any(isinstance(operand, Sink) for operand in (handle, *found)):
            raise self._fail("'_' where a value is read")
        return Texel(handle, tuple(found))

    def _integer(self, word: str) -> int:
        match = _INTEGER.fullmatch(word)
        if match is None:
            raise self._fail(f"'{word[:40]}' is not a number")
        digits = match.group(1)
        prefix = digits[:2].lower()
        if prefix == "0x":
            value = int(digits, 16)
        elif prefix == "0b":
            value = int(digits, 2)
        elif digits[0] == "0" and len(digits) > 1:
            value = self._octal(digits)
        else:
            value = int(digits)
        if value >= 2**64:
            raise self._fail(f"'{word[:40]}' does not fit 64 bits")
        return value

    def _octal(self, digits: str) -> int:
        if not set(digits) <= set("01234567"):
            raise self._fail(f"'{digits}' is not an octal number")
        return int(digits, 8)

    def _register(self, word: str, type_name: str) -> Register:
        found = self._scope.find(word)
        if not isinstance(found, Register):
            raise self._fail(f"register '{word[:40]}' is not declared")
        self._check(found, type_name)
        return found

    def _check(self, register: Register, type_name: str) -> None:
        """The register must hold the operand type: equal width and compatible kind, or wider where PTX allows it."""
        have, want = TYPES[register.type_name], TYPES[type_name]
        opcode = self._spelling.partition(".")[0]
        if (have.kind == "p") != (want.kind == "p"):
            raise self._fail(f"'{register.name}' is .{have.name}, the operand .{want.name}")
        wider = (
            opcode in _NARROWING
            and have.bits > want.bits
            and not (have.is_float or (want.is_float and want.bits != 16))
        )
        floats = have.is_float and want.kind in "us" and opcode not in _NARROWING
        if (
            (have.bits != want.bits and not wider)
            or floats
            or (have.kind in "us" and want.is_float and opcode not in _NARROWING)
        ):
            raise self._fail(f"'{register.name}' is .{have.name}, the operand .{want.name}")

    def _destination(self, type_name: str) -> Operand:
        word = self._next()
        return Sink() if word == "_" else self._register(word, type_name)

    def _value(self, type_name: str) -> Operand:
        """A register, an immediate or a special register of the given type."""
        word = self._next()
        if word == "_":
            return Sink()
        if word == "!":
            return Negated(self._register(self._next(), "pred"))
        if word == "-":
            return self._immediate(-self._integer(self._next()), type_name)
        if _F32.fullmatch(word) or _F64.fullmatch(word):
            kind = "f32" if word[1] in "fF" else "f64"
            wanted = TYPES[type_name]
            if wanted.bits != TYPES[kind].bits or wanted.kind in "us" or wanted.is_packed:
                raise self._fail(f"'{word}' where .{type_name} is needed")
            return Immediate(int("0x" + word[2:], 0), kind)
        if _INTEGER.fullmatch(word):
            return self._immediate(self._integer(word), type_name)
        if word == "WARP_SZ":
            return self._immediate(32, type_name)
        if word[:1] == "%" and word[1:] in SPECIALS:
            have = SPECIALS[word[1:]]
            if TYPES[have].bits != TYPES[type_name].bits or TYPES[type_name].is_float:
                raise self._fail(f"'{word}' where .{type_name} is needed")
            return Special(word[1:])
        return self._register(word, type_name)

    def _immediate(self, value: int, type_name: str) -> Immediate:
        kind = TYPES[type_name]
        if kind.is_float:
            raise self._fail(f"the integer {value} where .{type_name} is needed")
        return Immediate(value)
