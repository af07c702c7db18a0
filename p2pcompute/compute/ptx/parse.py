"""PTX text -> Module. An allow-list: what is not known here or in the instruction table is refused by line and name."""

from __future__ import annotations

import re
from typing import Final

from p2pcompute.compute.ptx.inline import inline_calls
from p2pcompute.compute.ptx.ir import Entry, Label, Module, Parameter, Statement, Variable
from p2pcompute.compute.ptx.lex import Token, tokenize
from p2pcompute.compute.ptx.operands import Scope, indexed_branch, parse_instruction
from p2pcompute.compute.ptx.system import join_calls
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError
from p2pcompute.wire.limits import ARGUMENT_BYTES_MAX, ARGUMENTS_MAX, SHARED_BYTES_MAX

INSTRUCTIONS_MAX: Final = 100_000
"""Per module. The longest public kernel has about 30,000; compile time grows with it."""
REGISTERS_MAX: Final = 100_000
NESTING_MAX: Final = 32
"""Scopes inside scopes; the compiler nests two."""
VARIABLE_BYTES_MAX: Final = 64 * 1024 * 1024
LOCAL_BYTES_MAX: Final = 64 * 1024
"""Stack per thread; a warp's is 32 times that."""
ALIGN_BYTES_MAX: Final = 256
TARGETS_MAX: Final = 1_024
"""Of one indexed branch."""

_NAME: Final = re.compile(r"[A-Za-z_$%][\w$]*", re.ASCII)
_TARGET: Final = re.compile(r"sm_\d{2,3}a?", re.ASCII)
_VERSION: Final = re.compile(r"\d\.\d", re.ASCII)
_LINKAGE: Final = frozenset({".visible", ".weak", ".extern", ".common"})
_TUNING: Final = {".maxntid": 3, ".reqntid": 3, ".minnctapersm": 1, ".maxnreg": 1, ".maxnctapersm": 1}


def parse(text: str) -> Module:
    """Parse a whole file. Raises PtxError, naming the line and the construct, for anything outside the accepted
    subset.
    """
    module = _Parser(tokenize(text)).module()
    module.text = text
    return module


def align_up(value: int, alignment: int) -> int:
    return (value + alignment - 1) // alignment * alignment


class _Parser:
    """Recursive descent over tokens; one method per construct."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._module = Module("", "")
        self._instructions = 0
        self._registers = 0
        self._scopes = 0
        self._targets: dict[str, list[str]] = {}

    # Tokens ------------------------------------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._tokens[self._place].text if self._place < len(self._tokens) else ""

    def _next(self) -> str:
        if self._place >= len(self._tokens):
            raise PtxError("The PTX ends in the middle of a construct.")
        self._place += 1
        return self._tokens[self._place - 1].text

    def _line(self) -> int:
        return self._tokens[min(self._place, len(self._tokens) - 1)].line if self._tokens else 1

    def _fail(self, what: str) -> PtxError:
        return PtxError(f"PTX line {self._line()}: {what}.")

    def _expect(self, text: str) -> None:
        if self._peek() != text:
            raise self._fail(f"expected '{text}', found '{self._peek()[:40]}'")
        self._place += 1

    def _accept(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._place += 1
        return True

    def _number(self, low: int, high: int) -> int:
        word = self._peek()
        if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|\d{1,20}", word, re.ASCII):
            raise self._fail(f"expected a number, found '{word[:40]}'")
        value = int(word, 16 if word[:2].lower() == "0x" else 10)
        if not low <= value <= high:
            raise self._fail(f"{value} is outside {low} to {high}")
        self._place += 1
        return value

    def _name(self) -> str:
        word = self._peek()
        if not _NAME.fullmatch(word) or len(word) > 1024:
            raise self._fail(f"expected a name, found '{word[:40]}'")
        self._place += 1
        return word

    def _skip_statement(self) -> None:
        while self._next() != ";":
            pass

    # Module ------------------------------------------------------------------------------------------------------

    def module(self) -> Module:
        self._expect(".version")
        self._module.version = self._header(_VERSION, "a version")
        self._expect(".target")
        self._module.target = self._header(_TARGET, "a target")
        if self._accept(","):
            self._expect("debug")
        self._expect(".address_size")
        self._number(64, 64)
        while self._place < len(self._tokens):
            self._directive()
        join_calls(self._module)
        for entry in self._module.entries.values():
            inline_calls(self._module, entry)
        return self._module

    def _header(self, pattern: re.Pattern[str], what: str) -> str:
        word = self._next()
        if not pattern.fullmatch(word):
            self._place -= 1
            raise self._fail(f"expected {what}, found '{word[:40]}'")
        return word

    def _directive(self) -> None:
        word = self._peek()
        if word == ".file":
            line = self._line()
            while self._peek() and self._line() == line:
                self._place += 1
        elif word == ".section":
            while self._next() != "}":
                pass
        elif word == ".pragma":
            self._skip_statement()
        else:
            linkage = self._linkage()
            word = self._peek()
            if word == ".entry":
                self._entry()
            elif word == ".func":
                self._function()
            elif word in (".global", ".const", ".shared"):
                self._module_variable(is_extern=".extern" in linkage)
            else:
                raise self._fail(f"'{word[:40]}' is not supported here")

    def _linkage(self) -> set[str]:
        found: set[str] = set()
        while self._peek() in _LINKAGE:
            found.add(self._next())
        return found

    def _module_variable(self, *, is_extern: bool) -> None:
        space = self._next()[1:]
        offset = 0 if space == "shared" else self._module.space_bytes(space)
        variable = self._variable(space, offset, is_extern=is_extern)
        if is_extern and space != "shared":
            raise self._fail(f"'{variable.name}' is extern: only dynamic shared memory may be")
        if variable.name in self._module.variables:
            raise self._fail(f"'{variable.name}' is declared twice")
        self._module.variables[variable.name] = variable
        if variable.offset_bytes + variable.size_bytes > VARIABLE_BYTES_MAX:
            raise self._fail(f"module variables exceed {VARIABLE_BYTES_MAX} bytes")

    def _variable(self, space: str, end_bytes: int, *, is_extern: bool = False) -> Variable:
        """`[.align n] .type name[n][m] [= {...}] ;` placed at or after `end_bytes`."""
        align = 0
        while self._peek() in (".align", ".attribute"):
            if self._next() == ".align":
                align = self._alignment()
                continue
            for word in ("(", ".managed", ")"):  # memory that the host sees too: here all of it is
                self._expect(word)
        element = self._type()
        name = self._name()
        count = 1
        while self._accept("["):
            if self._peek() == "]":
                if not is_extern:
                    raise self._fail(f"'{name}' has no size")
                count = 0
            else:
                count *= self._number(0, VARIABLE_BYTES_MAX)
            self._expect("]")
        size = TYPES[element].size_bytes
        initial = b""
        if self._accept("="):
            if space not in ("global", "const"):
                raise self._fail(f"a {space} variable cannot be initialised")
            initial = self._initial(element, size * count)
        self._expect(";")
        align = align or size
        return Variable(name, space, element, size * count, align, align_up(end_bytes, align), initial, is_extern)

    def _alignment(self) -> int:
        align = self._number(1, ALIGN_BYTES_MAX)
        if align & (align - 1):
            raise self._fail(f"alignment {align} is not a power of two")
        return align

    def _type(self) -> str:
        word = self._next()
        if word[:1] != "." or word[1:] not in TYPES or word == ".pred":
            self._place -= 1
            raise self._fail(f"type '{word[:40]}' is not supported")
        return word[1:]

    def _initial(self, element: str, size_bytes: int) -> bytes:
        data = bytearray()
        width = TYPES[element].size_bytes
        depth = 0
        while True:
            if self._accept("{"):
                depth += 1
            elif self._accept("}"):
                depth -= 1
            elif not self._accept(","):
                data += self._element(width)
            if depth <= 0 and self._peek() == ";":
                break
            if len(data) > size_bytes or depth > NESTING_MAX:
                break
        if len(data) > size_bytes or depth:
            raise self._fail("the initial values do not fit the variable")
        return bytes(data) + bytes(size_bytes - len(data))

    def _element(self, width: int) -> bytes:
        negative = self._accept("-")
        word = self._peek()
        if re.fullmatch(r"0[fFdD][0-9a-fA-F]{8}(?:[0-9a-fA-F]{8})?", word, re.ASCII) and len(word) == 2 + 2 * width:
            self._place += 1
            return int("0x" + word[2:], 0).to_bytes(width, "little")
        value = self._number(0, 2**64 - 1)
        return ((-value if negative else value) % (1 << 8 * width)).to_bytes(width, "little")

    # Entries -----------------------------------------------------------------------------------------------------

    def _entry(self) -> None:
        line = self._line()
        self._expect(".entry")
        entry = Entry(self._name(), line)
        if entry.name in self._module.entries:
            raise self._fail(f"'{entry.name}' is defined twice")
        if self._accept("("):
            self._parameters(entry)
        while self._peek() in _TUNING:
            directive = self._next()
            values = [self._number(0, 65_535)]
            while self._accept(","):
                values.append(self._number(0, 65_535))
            if len(values) > _TUNING[directive]:
                raise self._fail(f"'{directive}' takes {_TUNING[directive]} numbers")
            entry.tuning[directive[1:]] = tuple(values)
        self._body(entry)
        self._module.entries[entry.name] = entry

    def _function(self) -> None:
        """A declaration ends with a semicolon; a definition has a body."""
        self._expect(".func")
        line = self._line()
        returns = Entry("", line)
        if self._accept("("):
            self._parameters(returns)
        function = Entry(self._name(), line, returns=returns.parameters)
        if self._accept("("):
            self._parameters(function)
        self._accept(".noreturn")
        if self._accept(";"):
            return
        if function.name in self._module.functions:
            raise self._fail(f"'{function.name}' is defined twice")
        self._body(function)
        self._module.functions[function.name] = function

    def _body(self, entry: Entry) -> None:
        self._targets.clear()
        scope = Scope(self._module, entry)
        self._block(entry, scope)
        scope.check_labels(entry.line)

    def _parameters(self, entry: Entry) -> None:
        parameters: list[Parameter] = []
        offset = 0
        while not self._accept(")"):
            if parameters:
                self._expect(",")
            parameter = self._parameter(offset)
            offset = parameter.offset_bytes + parameter.size_bytes
            if offset > ARGUMENT_BYTES_MAX or len(parameters) >= ARGUMENTS_MAX:
                raise self._fail(f"the parameters of '{entry.name}' exceed {ARGUMENT_BYTES_MAX} bytes")
            if any(parameter.name == other.name for other in parameters):
                raise self._fail(f"parameter '{parameter.name}' is declared twice")
            parameters.append(parameter)
        entry.parameters = tuple(parameters)
        entry.parameter_bytes = offset

    def _parameter(self, end_bytes: int) -> Parameter:
        self._expect(".param")
        align = self._alignment() if self._accept(".align") else 0
        type_name = self._type()
        size = natural = TYPES[type_name].size_bytes
        if self._accept(".ptr"):
            if self._peek() in (".global", ".const", ".shared", ".local"):
                self._next()
            if self._accept(".align"):
                self._alignment()
        if self._accept(".align"):
            align = self._alignment()
        name = self._name()
        if self._accept("["):
            size *= self._number(1, ARGUMENT_BYTES_MAX)
            self._expect("]")
        align = align or natural
        return Parameter(name, type_name, size, align, align_up(end_bytes, align))

    # Bodies ------------------------------------------------------------------------------------------------------

    def _block(self, entry: Entry, scope: Scope) -> None:
        """A body with its nested scopes, iteratively: nesting depth is data, not Python stack."""
        self._expect("{")
        depth = 1
        while depth:
            if self._accept("{"):
                depth += 1
                self._scopes += 1
                if depth > NESTING_MAX:
                    raise self._fail(f"more than {NESTING_MAX} nested scopes")
                scope.enter(self._scopes)
            elif self._accept("}"):
                depth -= 1
                if depth:
                    scope.leave()
            else:
                self._statement(entry, scope)

    def _statement(self, entry: Entry, scope: Scope) -> None:
        word = self._peek()
        if word == ".reg" or word.startswith(".reg."):
            self._register_declaration(scope)
        elif word in (".shared", ".local", ".param"):
            self._entry_variable(entry, scope)
        elif word == ".loc":
            line = self._line()
            while self._peek() and self._line() == line:
                self._place += 1
        elif word == ".pragma":
            self._skip_statement()
        elif word == ".branchtargets":
            self._branch_targets(entry)
        elif word[:1] == ".":
            raise self._fail(f"'{word[:40]}' is not supported in a body")
        elif self._place + 1 < len(self._tokens) and self._tokens[self._place + 1].text == ":":
            line = self._line()
            label = scope.define_label(self._name(), line)
            self._expect(":")
            self._append(entry, Label(label))
        else:
            self._instruction(entry, scope)

    def _append(self, entry: Entry, statement: Statement) -> None:
        self._instructions += 1
        if self._instructions > INSTRUCTIONS_MAX:
            raise self._fail(f"more than {INSTRUCTIONS_MAX} instructions")
        entry.body.append(statement)

    def _instruction(self, entry: Entry, scope: Scope) -> None:
        start = self._place
        line = self._line()
        while self._next() != ";":
            if self._peek() == ":":
                raise self._fail("a label in the middle of an instruction")
        words = [token.text for token in self._tokens[start : self._place - 1]]
        if not words:
            return
        if "brx.idx" in words[:4]:
            for statement in indexed_branch(words, line, scope, self._targets):
                self._append(entry, statement)
            return
        self._append(entry, parse_instruction(words, line, scope))

    def _branch_targets(self, entry: Entry) -> None:
        """`name: .branchtargets label, label...;`: the label just read names a list, not a place."""
        self._expect(".branchtargets")
        if not entry.body or not isinstance(entry.body[-1], Label):
            raise self._fail("'.branchtargets' without a name")
        targets = [self._name()]
        while self._accept(","):
            targets.append(self._name())
            if len(targets) > TARGETS_MAX:
                raise self._fail(f"more than {TARGETS_MAX} branch targets")
        self._expect(";")
        label = entry.body.pop()
        assert isinstance(label, Label)
        self._targets[label.name] = targets

    def _register_declaration(self, scope: Scope) -> None:
        _, glued, kind = self._next().partition(".reg.")  # inline assembly may write `.reg.b32`
        word = f".{kind}" if glued else self._next()
        if word[:1] != "." or word[1:] not in TYPES:
            self._place -= 1
            raise self._fail(f"register type '{word[:40]}' is not supported")
        while True:
            name = self._name()
            names = [name]
            if self._accept("<"):
                names = [f"{name}{index}" for index in range(self._number(0, REGISTERS_MAX))]
                self._expect(">")
            self._registers += len(names)
            if self._registers > REGISTERS_MAX:
                raise self._fail(f"more than {REGISTERS_MAX} registers")
            for each in names:
                scope.declare_register(each, word[1:], self._line())
            if not self._accept(","):
                break
        self._expect(";")

    def _entry_variable(self, entry: Entry, scope: Scope) -> None:
        line = self._line()
        space = self._next()[1:]
        if space == "param":
            scope.declare_variable(self._variable(space, 0), line)
            return
        end = entry.shared_bytes if space == "shared" else entry.local_bytes
        variable = scope.declare_variable(self._variable(space, end), self._line())
        end = variable.offset_bytes + variable.size_bytes
        limit = SHARED_BYTES_MAX if space == "shared" else LOCAL_BYTES_MAX
        if end > limit:
            raise PtxError(f"PTX line {line}: {space} memory of '{entry.name}' exceeds {limit} bytes.")
        if space == "shared":
            entry.shared_bytes = end
        else:
            entry.local_bytes = end
