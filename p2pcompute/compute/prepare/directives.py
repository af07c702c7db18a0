"""Preprocessor lines: which file they include, which macro they define, and what those macros stand for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Final

from p2pcompute.compute.prepare.lex import Kind, Token, tokens_of

KERNEL_MARKS: Final = frozenset({"__global__"})
DEVICE_MARKS: Final = frozenset({"__device__", "__global__", "__constant__", "__managed__", "__shared__"})
CONDITIONALS: Final = frozenset({"if", "ifdef", "ifndef", "elif", "else", "endif"})
_NAME: Final = re.compile(r"#\s*([a-z_]+)")
_INCLUDE: Final = re.compile(r"""#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)""")
_DEFINE: Final = re.compile(r"#\s*define\s+([^\W\d]\w*)(\([^)]*\))?([\s\S]*)")
_SPLICE: Final = re.compile(r"\\\r?\n")


def name_of(directive: str) -> str:
    """`include`, `if`, `define`, …; empty for a lone `#`."""
    match = _NAME.match(directive)
    return match[1] if match else ""


def included(directive: str) -> str:
    """The name between the quotes or brackets of an #include; empty for any other directive."""
    match = _INCLUDE.match(directive)
    return (match[1] or match[2]).strip() if match else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Macro:
    """All definitions of one name together. `whole`: a use of it needs no semicolon, since it brings its own end.
    `braced`: it holds braces. `unbalanced`: it opens or closes some, as in `#define BEGIN namespace x {`. `pasted`:
    the words that `##` joins with others."""

    words: frozenset[str]
    parameters: bool
    whole: bool
    braced: bool
    unbalanced: bool
    pasted: frozenset[str]


class Macros:
    """The macros of all files of a program; conditionals are not evaluated, so every definition counts."""

    def __init__(self, directives: Iterable[str]) -> None:
        self._macros: dict[str, Macro] = {}
        for directive in directives:
            match = _DEFINE.match(directive)
            if match:
                made = _macro(match[2], match[3])
                before = self._macros.get(match[1])
                self._macros[match[1]] = _either(before, made) if before else made
        self.kernel_marks = self._standing_for(KERNEL_MARKS)
        self.device_marks = self._standing_for(DEVICE_MARKS)

    def get(self, name: str) -> Macro | None:
        """The macro of that name."""
        return self._macros.get(name)

    def _standing_for(self, marks: frozenset[str]) -> frozenset[str]:
        """The marks, and every macro that brings one of them along, however indirectly."""
        users: dict[str, list[str]] = {}
        for name, macro in self._macros.items():
            for word in macro.words:
                users.setdefault(word, []).append(name)
        found, work = set(marks), list(marks)
        while work:
            new = [user for user in users.get(work.pop(), ()) if user not in found]
            found.update(new)
            work += new
        return frozenset(found)


def _macro(parameters: str | None, body: str) -> Macro:
    tokens = tokens_of(_SPLICE.sub(" ", body))
    texts = [token.text for token in tokens]
    own = set(re.findall(r"\w+", parameters or ""))
    pasted = {
        tokens[at + side].text
        for at, text in enumerate(texts)
        if text == "##"
        for side in (-1, 1)
        if 0 <= at + side < len(tokens) and tokens[at + side].kind is Kind.IDENTIFIER
    }
    balance = texts.count("{") - texts.count("}")
    return Macro(
        words=frozenset(words_of(tokens)),
        parameters=parameters is not None,
        whole=not texts or texts[-1] in (";", "}", "{"),
        braced="{" in texts or "}" in texts,
        unbalanced=balance != 0,
        pasted=frozenset(pasted - own),
    )


def _either(one: Macro, other: Macro) -> Macro:
    return Macro(
        one.words | other.words,
        one.parameters or other.parameters,
        one.whole or other.whole,
        one.braced or other.braced,
        one.unbalanced or other.unbalanced,
        one.pasted | other.pasted,
    )


def words_of(tokens: Iterable[Token]) -> set[str]:
    """All identifiers, those inside directives included."""
    words: set[str] = set()
    for token in tokens:
        if token.kind is Kind.IDENTIFIER:
            words.add(token.text)
        elif token.kind is Kind.DIRECTIVE:
            words.update(re.findall(r"[^\W\d]\w*", token.text))
    return words
