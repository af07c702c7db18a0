"""What a top-level declaration declares, told from its tokens: kind, names, template parameters, marks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum
from typing import Final

from p2pcompute.compute.prepare.directives import Macros
from p2pcompute.compute.prepare.lex import Kind, Token


class Sort(Enum):
    """What kind of declaration it is."""

    OPEN = "open"
    """`namespace x {`, `extern "C" {`"""
    CLOSE = "close"
    """The brace that ends it."""
    FUNCTION = "function"
    TYPE = "type"
    ALIAS = "alias"
    """`typedef`, `using x = …`, `using a::b`, `namespace x = y`"""
    USING = "using"
    """`using namespace x`"""
    VARIABLE = "variable"
    INSTANTIATION = "instantiation"
    """`template void f<int>(…);`"""
    DIRECTIVE = "directive"
    MACRO = "macro"
    """A macro that stands alone and brings its own semicolon or braces."""
    OTHER = "other"


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """`names` are those it declares; `owner` the class in `Owner::f`; `template` its template parameters by name."""

    sort: Sort
    names: frozenset[str] = frozenset()
    template: tuple[str, ...] = ()
    owner: str = ""
    kernel: bool = False
    device: bool = False
    constant: bool = False
    fixed: bool = False
    """A member function that shapes its class: virtual, defaulted or deleted."""


ATTRIBUTES: Final = frozenset(
    [
        "__align__",
        "alignas",
        "__attribute__",
        "__launch_bounds__",
        "__declspec",
        "__cluster_dims__",
        "__block_size__",
        "decltype",
        "noexcept",
        "requires",
        "explicit",
        "__maxnreg__",
    ]
)
_CLASS_KEYS: Final = frozenset({"struct", "class", "union", "enum"})
_AFTER_PARAMETERS: Final = frozenset(
    {"", "const", "override", "final", "volatile", "throw", "try", "&", "&&", "->", ":", "="}
)
_WORDS: Final = frozenset(
    [
        "auto",
        "bool",
        "char",
        "class",
        "const",
        "constexpr",
        "consteval",
        "constinit",
        "default",
        "delete",
        "double",
        "else",
        "enum",
        "explicit",
        "extern",
        "false",
        "float",
        "for",
        "friend",
        "if",
        "inline",
        "int",
        "long",
        "mutable",
        "namespace",
        "new",
        "noexcept",
        "operator",
        "override",
        "private",
        "protected",
        "public",
        "register",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "template",
        "this",
        "thread_local",
        "true",
        "typedef",
        "typename",
        "union",
        "unsigned",
        "using",
        "virtual",
        "void",
        "volatile",
        "while",
        "final",
        "__restrict__",
        "__restrict",
        "restrict",
        "__host__",
        "__device__",
        "__global__",
        "__constant__",
        "__shared__",
        "__managed__",
        "__forceinline__",
        "__noinline__",
        "__inline__",
        "__inline",
        "wchar_t",
        "char16_t",
        "char32_t",
    ]
)
ANGLE_TOKENS_MAX: Final = 256
"""How long a template argument list may be; behind this a `<` counts as a comparison."""
_CLOSER: Final = {"(": ")", "[": "]", "{": "}"}


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A token outside of brackets, or a whole bracketed group (`text` is then its opening bracket)."""

    text: str
    identifier: bool
    inside: Sequence[Token] = ()


def describe(tokens: Sequence[Token], macros: Macros) -> Declaration:
    """`tokens` are those of one declaration, up to its semicolon or the end of its body."""
    tokens = [token for token in tokens if token.kind is not Kind.DIRECTIVE]
    template, explicit, at = _template(tokens)
    parts = _without_attributes(parts_of(tokens[at:]))
    texts = [part.text for part in parts]
    head = _head(parts)
    words = {part.text for part in head}
    sort = _sort(parts, texts, explicit)
    names, owner = _names(sort, parts)
    return Declaration(
        sort=sort,
        names=frozenset(names - (_WORDS - {"operator"})),
        template=template,
        owner=owner,
        kernel=not words.isdisjoint(macros.kernel_marks) and sort in (Sort.FUNCTION, Sort.INSTANTIATION),
        device=not words.isdisjoint(macros.device_marks) or "constexpr" in words,
        constant="const" in words or "constexpr" in words,
        fixed="virtual" in words or _defaulted(texts),
    )


def parts_of(tokens: Sequence[Token]) -> list[Part]:
    """Brackets folded: what stands outside of them, and the groups."""
    parts: list[Part] = []
    nest: list[str] = []
    opened = 0
    for at, token in enumerate(tokens):
        text = token.text if token.kind is Kind.PUNCTUATION else ""
        if text in _CLOSER:
            if not nest:
                opened = at + 1
            nest.append(_CLOSER[text])
        elif nest and text == nest[-1]:
            closing = nest.pop()
            if not nest:
                bracket = {")": "(", "]": "[", "}": "{"}[closing]
                parts.append(Part(bracket, False, tokens[opened:at]))
        elif not nest:
            parts.append(Part(token.text, token.kind is Kind.IDENTIFIER))
    if nest:
        parts.append(Part({")": "(", "]": "[", "}": "{"}[nest[0]], False, tokens[opened:]))
    return parts


def after_angles(tokens: Sequence[Token], at: int) -> int:
    """Behind the `>` that closes the `<` at `at`; `at` itself when none does."""
    depth = nest = 0
    for here in range(at, min(len(tokens), at + ANGLE_TOKENS_MAX)):
        text = tokens[here].text
        if text in "([{":
            nest += 1
        elif text in ")]}":
            nest -= 1
        elif text == "<" and nest == 0:
            depth += 1
        elif text == ">" and nest == 0:
            depth -= 1
            if depth == 0:
                return here + 1
        if nest < 0 or text == ";":
            return at
    return at


def _template(tokens: Sequence[Token]) -> tuple[tuple[str, ...], bool, int]:
    """Template parameters, whether it is an explicit instantiation, and where the declaration proper begins."""
    names: tuple[str, ...] = ()
    at = 0
    while at < len(tokens) and tokens[at].text in ("template", "extern"):
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        if tokens[at].text == "extern":
            if following is None or (following.kind is not Kind.STRING and following.text != "template"):
                break
            at += 2 if following.kind is Kind.STRING and tokens[at + 2 : at + 3] and tokens[at + 2].text != "{" else 1
            if following.kind is Kind.STRING and tokens[at].kind is Kind.STRING:
                return names, False, at - 1
            continue
        if following is None or following.text != "<":
            return names, True, at + 1
        end = after_angles(tokens, at + 1)
        if end == at + 1:
            break
        names = names or template_parameters(tokens[at + 2 : end - 1])
        at = end
    return names, False, at


def template_parameters(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Names in `typename T, int N = 4`, in order; an unnamed one is empty."""
    names = []
    for part in split_at_commas(tokens):
        words: list[str] = []
        for token in part:
            if token.text == "=":
                break
            if token.kind is Kind.IDENTIFIER:
                words.append(token.text)
        names.append(words[-1] if len(words) > 1 and words[-1] not in _WORDS else "")
    return tuple(names)


def split_at_commas(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """At the commas outside of all brackets, `<>` included."""
    if not tokens:
        return []
    parts: list[Sequence[Token]] = []
    depth = start = 0
    for at, token in enumerate(tokens):
        if token.text in ("(", "[", "{", "<"):
            depth += 1
        elif token.text in (")", "]", "}", ">"):
            depth -= 1
        elif token.text == "," and depth == 0:
            parts.append(tokens[start:at])
            start = at + 1
    return [*parts, tokens[start:]]


def _without_attributes(parts: list[Part]) -> list[Part]:
    kept: list[Part] = []
    at = 0
    while at < len(parts):
        part = parts[at]
        following = parts[at + 1].text if at + 1 < len(parts) else ""
        if part.text in ATTRIBUTES and following == "(":
            at += 2
        elif part.text == "[" and part.inside and part.inside[0].text == "[":
            at += 1
        else:
            kept.append(part)
            at += 1
    return kept


def _head(parts: Sequence[Part]) -> Sequence[Part]:
    """Up to the body, the initialiser or the parameters."""
    for at, part in enumerate(parts):
        if part.text in ("{", "="):
            return parts[:at]
    return parts


def _sort(parts: Sequence[Part], texts: list[str], explicit: bool) -> Sort:
    start = texts[0] if texts else ""
    second = texts[1] if len(texts) > 1 else ""
    if start == "namespace" or (start == "inline" and second == "namespace"):
        return Sort.ALIAS if "=" in texts else Sort.OPEN
    if start == "extern" and second[:1] == '"' and texts[2:3] == ["{"]:
        return Sort.OPEN
    if start == "using":
        return Sort.USING if second == "namespace" else Sort.ALIAS
    if start == "typedef":
        return Sort.ALIAS
    if start == "friend" and (second in _CLASS_KEYS or "(" not in texts):
        return Sort.ALIAS
    if start in ("static_assert", "asm"):
        return Sort.OTHER
    if explicit:
        return Sort.INSTANTIATION
    if "operator" in texts:
        return Sort.FUNCTION
    head = _head(parts)
    if _is_type(head):
        return Sort.TYPE
    if parameters_at(head) >= 0:
        return Sort.FUNCTION
    return Sort.VARIABLE if any(part.identifier for part in parts) else Sort.OTHER


def _is_type(head: Sequence[Part]) -> bool:
    """`struct X`, also `struct MACRO(16) X : Base`; not `struct X f()`, not `struct X x`."""
    at = 0
    while at < len(head) and head[at].identifier and head[at].text not in _CLASS_KEYS:
        if head[at].text not in _WORDS and not head[at].text.isupper() and head[at].text not in ATTRIBUTES:
            return False
        at += 1
    if at == len(head) or head[at].text not in _CLASS_KEYS:
        return False
    return parameters_at(head) < 0


def parameters_at(parts: Sequence[Part]) -> int:
    """Which part is the parameter list of a function; -1 where there is none."""
    for at, part in enumerate(parts):
        if part.text != "(" or at == 0:
            continue
        before, after = parts[at - 1], parts[at + 1].text if at + 1 < len(parts) else ""
        named = before.identifier and (before.text not in _WORDS or before.text == "operator")
        if named and (after in _AFTER_PARAMETERS or after in (";", "{", "(") or after in ATTRIBUTES):
            return at
        if before.text == ">" and (after in (";", "{", "", "const") or after in ATTRIBUTES):
            return at
    return -1


def _names(sort: Sort, parts: Sequence[Part]) -> tuple[set[str], str]:
    """The names declared, and the class a member defined outside of it belongs to."""
    if sort in (Sort.FUNCTION, Sort.INSTANTIATION):
        return _function_name(parts)
    if sort is Sort.TYPE:
        return _type_names(parts), ""
    if sort in (Sort.ALIAS, Sort.USING):
        return _alias_names(parts), ""
    if sort is Sort.OPEN:
        return {part.text for part in parts if part.identifier}, ""
    return _variable_names(parts), ""


def _function_name(parts: Sequence[Part]) -> tuple[set[str], str]:
    texts = [part.text for part in parts]
    if "operator" in texts:
        at = texts.index("operator")
        return {"operator"}, _owner(texts, at - 1)
    at = parameters_at(parts) - 1
    if at >= 0 and texts[at] == ">":
        at = _before_angles(texts, at)
    if at < 0:
        return {part.text for part in parts if part.identifier}, ""
    name = texts[at]
    return {name}, _owner(texts, at - 2 if at >= 1 and texts[at - 1] == "~" else at - 1)


def _owner(texts: list[str], at: int) -> str:
    """`X` where `X::` or `X<T>::` ends at `at`."""
    if at < 1 or texts[at] != "::":
        return ""
    place = _before_angles(texts, at - 1) if texts[at - 1] == ">" else at - 1
    return texts[place] if place >= 0 and texts[place].isidentifier() else ""


def _before_angles(texts: list[str], at: int) -> int:
    """The place before the `<` that opens what the `>` at `at` closes; -1 when none does."""
    depth = 0
    for here in range(at, -1, -1):
        depth += {">": 1, "<": -1}.get(texts[here], 0)
        if depth == 0:
            return here - 1
    return -1


def _type_names(parts: Sequence[Part]) -> set[str]:
    """The type, the enumerators, and what is declared behind its body."""
    names: set[str] = set()
    key = next((at for at, part in enumerate(parts) if part.text in _CLASS_KEYS), 0)
    enum = parts[key].text == "enum" if parts else False
    body = next((at for at, part in enumerate(parts) if part.text == "{"), len(parts))
    for part in parts[key + 1 : body]:
        if part.text in (":", "<"):
            break
        if part.identifier:
            names.add(part.text)
    if enum and body < len(parts):
        for entry in split_at_commas(parts[body].inside):
            names.update(token.text for token in entry[:1] if token.kind is Kind.IDENTIFIER)
    return names | _variable_names(parts[body + 1 :])


def _alias_names(parts: Sequence[Part]) -> set[str]:
    texts = [part.text for part in parts]
    if texts[:1] == ["typedef"]:
        names = _variable_names(parts)
        body = next((part for part in parts if part.text == "{"), None)
        if body is not None:
            names |= _type_names(parts)
        return names
    if "=" in texts:
        return {part.text for part in parts[: texts.index("=")] if part.identifier}
    return {part.text for part in parts[-2:] if part.identifier}


def _variable_names(parts: Sequence[Part]) -> set[str]:
    """Identifiers in the place of a declared name: `int a = 1, *b[2], (*f)(int);`."""
    names: set[str] = set()
    value = False
    for at, part in enumerate(parts):
        after = parts[at + 1].text if at + 1 < len(parts) else ";"
        if part.text in (",", ";"):
            value = False
        elif part.text == "=":
            value = True
        elif part.text == "(" and part.inside and part.inside[0].text in ("*", "&") and not value:
            names.update(token.text for token in part.inside if token.kind is Kind.IDENTIFIER)
        elif part.identifier and not value and after in ("=", ",", ";", "[", "{", "(", ":"):
            names.add(part.text)
    return names


def _defaulted(texts: list[str]) -> bool:
    return any(texts[at] == "=" and texts[at + 1] in ("default", "delete", "0") for at in range(len(texts) - 1))
