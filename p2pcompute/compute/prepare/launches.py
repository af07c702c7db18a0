"""Template instances the host code launches: `scale<float><<<grid, block>>>(…)` needs a kernel `scale<float>`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from p2pcompute.compute.prepare.declaration import (
    Sort,
    after_angles,
    parameters_at,
    parts_of,
    split_at_commas,
)
from p2pcompute.compute.prepare.items import Item
from p2pcompute.compute.prepare.lex import Kind, Token
from p2pcompute.compute.prepare.program import Program, SourceFile

INSTANCES_MAX: Final = 64
EXPRESSION_CHARS_MAX: Final = 200
_ROUNDS: Final = 4
"""Host templates that call host templates, before a kernel is launched."""
_CALLERS_MAX: Final = 8
USES_MAX: Final = 1024
_CALL_TOKENS_MAX: Final = 1024
_NO_TYPE: Final = frozenset({"return", "delete", "else", "case", "goto", "new"})


_Kernel = tuple[SourceFile, Item]
_Arguments = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Use:
    """`name<arguments>` in the function `inside` (which may itself be a template)."""

    name: str
    arguments: _Arguments
    inside: str
    parameters: tuple[str, ...]


def instances_of(program: Program) -> tuple[str, ...]:
    """Name expressions of the template kernels used, in the order of the text; at most INSTANCES_MAX."""
    kernels = _template_kernels(program)
    if not kernels:
        return ()
    templates = {
        name
        for file in program.files.values()
        for item in file.items
        if item.declaration.template and item.declaration.sort in (Sort.FUNCTION, Sort.TYPE)
        for name in item.declaration.names
    }
    uses = list(islice(_uses(program, templates, kernels), USES_MAX))
    bindings = _bindings(uses)
    found: dict[str, None] = {}
    for use in uses:
        if use.name not in kernels:
            continue
        for arguments in _bound(use, bindings, _ROUNDS):
            scope = kernels[use.name][1].scope
            name = "::".join((*(part for part in scope if part), use.name))
            expression = f"{name}<{', '.join(map(_spelled, arguments))}>"
            if len(expression) <= EXPRESSION_CHARS_MAX and len(found) < INSTANCES_MAX:
                found[expression] = None
    return tuple(found)


def _template_kernels(program: Program) -> dict[str, _Kernel]:
    return {
        name: (file, item)
        for file in program.files.values()
        for item in file.items
        if item.declaration.kernel and item.declaration.template and item.declaration.sort is Sort.FUNCTION
        for name in item.declaration.names
    }


def _uses(program: Program, templates: set[str], kernels: Mapping[str, _Kernel]) -> Iterator[_Use]:
    for file in program.files.values():
        for item in file.items:
            if item.declaration.sort not in (Sort.OPEN, Sort.CLOSE, Sort.DIRECTIVE):
                yield from _uses_in(program, file, item, templates, kernels)


def _uses_in(
    program: Program, file: SourceFile, item: Item, templates: set[str], kernels: Mapping[str, _Kernel]
) -> Iterator[_Use]:
    tokens = file.tokens[item.first : item.last]
    inside = item.declaration.owner or min(item.declaration.names, default="")
    parameters = item.declaration.template
    local: _Locals | None = None
    for at, token in enumerate(tokens[:-1]):
        if token.kind is not Kind.IDENTIFIER or token.text not in templates:
            continue
        local = local or _Locals(tokens)
        if tokens[at + 1].text == "<":
            end = after_angles(tokens, at + 1)
            if end > at + 1 and end < len(tokens):
                split = split_at_commas(tokens[at + 2 : end - 1])
                arguments = tuple(local.resolved(part) for part in split)
                if all(arguments) and arguments:
                    yield _Use(token.text, arguments, inside, parameters)
        elif tokens[at + 1].text in ("<<<", "(") and item.declaration.names != {token.text}:
            called = _arguments(tokens, at + 1)
            template = kernels.get(token.text)
            deduced = _deduced(template, called, local) if template and called else ()
            if deduced:
                yield _Use(token.text, deduced, inside, parameters)


class _Locals:
    """What a function's own declarations say of its names: constants, aliases, and types of variables."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._values: dict[str, tuple[str, ...]] = {}
        self.types: dict[str, tuple[str, ...]] = {}
        for at in range(1, len(tokens) - 2):
            token, before, after = tokens[at], tokens[at - 1], tokens[at + 1]
            if token.kind is not Kind.IDENTIFIER:
                continue
            if before.text == "using" and after.text == "=":
                self._values[token.text] = _until(tokens, at + 2, ";")
            elif after.text == "=" and tokens[at + 2].kind is Kind.NUMBER and tokens[at + 3 : at + 4]:
                if tokens[at + 3].text in (";", ","):
                    self._values.setdefault(token.text, (tokens[at + 2].text,))
            if before.text in ("*", "&") or before.kind is Kind.IDENTIFIER:
                declared = _type_before(tokens, at)
                if declared:
                    self.types.setdefault(token.text, declared)

    def resolved(self, part: Sequence[Token]) -> tuple[str, ...]:
        words: list[str] = []
        for token in part:
            words += self._values.get(token.text, (token.text,))
        return tuple(words)


def _until(tokens: Sequence[Token], at: int, end: str) -> tuple[str, ...]:
    words: list[str] = []
    for token in tokens[at : at + 32]:
        if token.text == end:
            return tuple(words)
        words.append(token.text)
    return ()


def _type_before(tokens: Sequence[Token], at: int) -> tuple[str, ...]:
    """`('float', '*')` for the name in `const float *name`; empty where that is no declaration."""
    words: list[str] = []
    here = at - 1
    while here >= 0 and len(words) < 8:
        token = tokens[here]
        if token.kind is Kind.IDENTIFIER and token.text not in _NO_TYPE:
            words.append(token.text)
        elif token.text == "*" and (not words or words[-1] == "*" or words[-1] in ("const", "__restrict__")):
            words.append("*")
        else:
            break
        here -= 1
    opened = tokens[here].text if here >= 0 else ";"
    words = [word for word in reversed(words) if word not in ("const", "static", "__restrict__", "volatile")]
    plausible = words and words[0] != "*" and opened in (";", "{", "}", "(", ",")
    return tuple(words) if plausible else ()


def _arguments(tokens: Sequence[Token], at: int) -> list[Sequence[Token]]:
    """What a call or launch passes; `at` is its `(` or `<<<`."""
    if tokens[at].text == "<<<":
        first = at
        while (
            at + 3 < len(tokens)
            and at < first + _CALL_TOKENS_MAX
            and [t.text for t in tokens[at : at + 4]] != [">", ">", ">", "("]
        ):
            if tokens[at].text == ";":
                return []
            at += 1
        at += 3
    depth = 0
    for here in range(at, min(len(tokens), at + _CALL_TOKENS_MAX)):
        depth += (tokens[here].text == "(") - (tokens[here].text == ")")
        if depth == 0:
            return split_at_commas(tokens[at + 1 : here])
    return []


def _deduced(kernel: _Kernel, called: Sequence[Sequence[Token]], local: _Locals) -> _Arguments:
    """Template arguments as the compiler would deduce them, where a variable passed has a plain declaration."""
    bound: dict[str, tuple[str, ...]] = {}
    for declared, passed in zip(_parameters(kernel), called):
        names = [t.text for t in passed if t.kind is Kind.IDENTIFIER]
        words = [t.text for t in declared if t.kind is Kind.IDENTIFIER or t.text == "*"]
        types = local.types.get(names[0]) if len(passed) == 1 and names else None
        wanted = next((name for name in kernel[1].declaration.template if name in words), "")
        if types and wanted and words.count("*") == types.count("*"):
            bound.setdefault(wanted, tuple(word for word in types if word != "*"))
    arguments = [bound.get(name) for name in kernel[1].declaration.template]
    while arguments and arguments[-1] is None:
        arguments.pop()
    return tuple(argument for argument in arguments if argument) if all(arguments) else ()


def _parameters(kernel: _Kernel) -> list[Sequence[Token]]:
    file, item = kernel
    parts = parts_of(file.tokens[item.first : item.last])
    at = parameters_at(parts)
    return split_at_commas(parts[at].inside) if at >= 0 else []


def _bindings(uses: Sequence[_Use]) -> dict[str, list[_Use]]:
    bindings: dict[str, list[_Use]] = {}
    for use in uses:
        bindings.setdefault(use.name, []).append(use)
    return bindings


def _bound(use: _Use, bindings: Mapping[str, list[_Use]], rounds: int) -> list[_Arguments]:
    """The use's arguments, with the parameters of the template it stands in replaced by what its callers give."""
    free = {word for argument in use.arguments for word in argument if word in use.parameters}
    if not free:
        return [use.arguments]
    found: list[_Arguments] = []
    for caller in bindings.get(use.inside, ())[:_CALLERS_MAX] if rounds else ():
        for given in _bound(caller, bindings, rounds - 1):
            values = dict(zip(use.parameters, given))
            if free <= values.keys() and len(found) < _CALLERS_MAX:
                found.append(tuple(_replaced(argument, values) for argument in use.arguments))
    return found


def _replaced(argument: Sequence[str], values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(word for old in argument for word in values.get(old, (old,)))


def _spelled(words: Sequence[str]) -> str:
    """Tokens as text, apart only where two words would run into one."""
    text = ""
    for word in words:
        apart = text[-1:].isidentifier() and word[:1].isidentifier()
        text += (" " if apart or (text[-1:] == ">" and word == ">") else "") + word
    return text
