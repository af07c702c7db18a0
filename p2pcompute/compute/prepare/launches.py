"""Template instances the host code launches: `scale<float><<<grid, block>>>(…)` needs a kernel `scale<float>`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
TRIES_MAX: Final = 1024
"""Places looked at, each for a bounded number of tokens."""
_CALL_TOKENS_MAX: Final = 256
_NO_TYPE: Final = frozenset({"return", "delete", "else", "case", "goto", "new"})


_Arguments = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Template:
    """A template: whether it is a kernel, its namespaces, its template parameters by name, and the tokens of each
    function parameter."""

    kernel: bool
    scope: tuple[str, ...]
    template: tuple[str, ...]
    parameters: Sequence[Sequence[Token]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Use:
    """`name<arguments>` in the function `inside` (which may itself be a template)."""

    name: str
    arguments: _Arguments
    inside: str
    parameters: tuple[str, ...]


def instances_of(program: Program) -> tuple[str, ...]:
    """Name expressions of the template kernels used, in the order of the text; at most INSTANCES_MAX."""
    templates = _templates(program)
    if not any(template.kernel for template in templates.values()):
        return ()
    uses = list(_uses(program, templates))
    bindings = _bindings(uses)
    found: dict[str, None] = {}
    for use in uses:
        if not templates[use.name].kernel:
            continue
        for arguments in _bound(use, bindings, _ROUNDS):
            scope = templates[use.name].scope
            name = "::".join((*(part for part in scope if part), use.name))
            expression = f"{name}<{', '.join(map(_spelled, arguments))}>"
            if len(expression) <= EXPRESSION_CHARS_MAX and len(found) < INSTANCES_MAX:
                found[expression] = None
    return tuple(found)


def _templates(program: Program) -> dict[str, _Template]:
    """Function and class templates by name; a kernel goes before whatever else has its name."""
    found: dict[str, _Template] = {}
    for file in program.files.values():
        for item in file.items:
            declaration = item.declaration
            if not declaration.template or declaration.sort not in (Sort.FUNCTION, Sort.TYPE):
                continue
            parameters = _parameters(file, item) if declaration.sort is Sort.FUNCTION else []
            made = _Template(declaration.kernel, item.scope, declaration.template, parameters)
            for name in declaration.names:
                if name not in found or (made.kernel and not found[name].kernel):
                    found[name] = made
    return found


def _uses(program: Program, templates: Mapping[str, _Template]) -> Iterator[_Use]:
    local: dict[tuple[str, int], _Locals] = {}
    for file, number, at in islice(_candidates(program, templates), TRIES_MAX):
        item = file.items[number]
        tokens = file.tokens[item.first : item.last] if (file.name, number) not in local else ()
        known = local.setdefault((file.name, number), _Locals(tokens))
        name = file.tokens[at].text
        if file.tokens[at + 1].text == "<":
            arguments = _given(file.tokens, at + 1, item.last, known)
        elif name not in item.declaration.names:
            arguments = _deduced(templates[name], _arguments(file.tokens, at + 1, item.last), known)
        else:
            continue
        if arguments:
            inside = item.declaration.owner or min(item.declaration.names, default="")
            yield _Use(name, arguments, inside, item.declaration.template)


def _candidates(program: Program, templates: Mapping[str, _Template]) -> Iterator[tuple[SourceFile, int, int]]:
    """Where a template's name is followed by arguments, a launch or a call: file, item, token."""
    for file in program.files.values():
        for number, item in enumerate(file.items):
            if item.declaration.sort in (Sort.OPEN, Sort.CLOSE, Sort.DIRECTIVE):
                continue
            for at in range(item.first, item.last - 1):
                if file.tokens[at].text in templates and file.tokens[at + 1].text in ("<", "<<<", "("):
                    yield file, number, at


def _given(tokens: Sequence[Token], at: int, last: int, known: _Locals) -> _Arguments:
    """The arguments between the `<` at `at` and its `>`; none where that is a comparison."""
    end = after_angles(tokens, at)
    if end == at or end > last:
        return ()
    arguments = tuple(known.resolved(part) for part in split_at_commas(tokens[at + 1 : end - 1]))
    return arguments if all(arguments) else ()


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
                self._values[token.text] = self._expanded(_until(tokens, at + 2, ";"))
            elif after.text == "=" and _is_constant(tokens[at + 2]) and _ends(tokens, at + 3):
                self._values.setdefault(token.text, (tokens[at + 2].text,))
            if before.text in ("*", "&") or before.kind is Kind.IDENTIFIER:
                declared = _type_before(tokens, at)
                if declared:
                    self.types.setdefault(token.text, declared)

    def resolved(self, part: Sequence[Token]) -> tuple[str, ...]:
        return self._expanded(token.text for token in part)

    def _expanded(self, words: Iterable[str]) -> tuple[str, ...]:
        """At most a name expression's length of words: aliases of aliases may double each time."""
        return tuple(islice((new for word in words for new in self._values.get(word, (word,))), EXPRESSION_CHARS_MAX))


def _is_constant(token: Token) -> bool:
    return token.kind is Kind.NUMBER or token.text in ("true", "false")


def _ends(tokens: Sequence[Token], at: int) -> bool:
    return at < len(tokens) and tokens[at].text in (";", ",")


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


def _arguments(tokens: Sequence[Token], at: int, last: int) -> list[Sequence[Token]]:
    """What a call or launch passes; `at` is its `(` or `<<<`."""
    last = min(last, at + _CALL_TOKENS_MAX)
    if tokens[at].text == "<<<":
        while [token.text for token in tokens[at : at + 4]] != [">", ">", ">", "("]:
            if at >= last or tokens[at].text == ";":
                return []
            at += 1
        at += 3
    depth = 0
    for here in range(at, last):
        depth += (tokens[here].text == "(") - (tokens[here].text == ")")
        if depth == 0:
            return split_at_commas(tokens[at + 1 : here])
    return []


def _deduced(template: _Template, called: Sequence[Sequence[Token]], local: _Locals) -> _Arguments:
    """Template arguments as the compiler would deduce them, where a variable passed has a plain declaration."""
    bound: dict[str, tuple[str, ...]] = {}
    for declared, passed in zip(template.parameters, called):
        names = [t.text for t in passed if t.kind is Kind.IDENTIFIER]
        words = [t.text for t in declared if t.kind is Kind.IDENTIFIER or t.text == "*"]
        types = local.types.get(names[0]) if len(passed) == 1 and names else None
        wanted = next((name for name in template.template if name in words), "")
        if types and wanted and words.count("*") == types.count("*"):
            bound.setdefault(wanted, tuple(word for word in types if word != "*"))
    arguments = [bound.get(name) for name in template.template]
    while arguments and arguments[-1] is None:
        arguments.pop()
    return tuple(argument for argument in arguments if argument) if all(arguments) else ()


def _parameters(file: SourceFile, item: Item) -> list[Sequence[Token]]:
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
