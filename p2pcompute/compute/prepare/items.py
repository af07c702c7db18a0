"""A file's tokens to its top-level declarations, and a class body's to its members.

Every branch of a conditional is read. A branch starts with the nesting its `#if` had, so that two heads for one body do
not count as two open braces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from p2pcompute.compute.prepare.declaration import Declaration, Sort, describe
from p2pcompute.compute.prepare.directives import CONDITIONALS, Macros, name_of
from p2pcompute.compute.prepare.lex import Kind, Token

_LABELS: Final = frozenset({"public", "private", "protected"})
_CLASS_KEYS: Final = frozenset({"struct", "class", "union"})
DEPTH_MAX: Final = 16
"""Classes within classes that are looked into."""


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One declaration: tokens `first` to `last - 1` of its file, in the namespaces `scope`. `members` are those of a
    class body."""

    first: int
    last: int
    declaration: Declaration
    scope: tuple[str, ...] = ()
    members: tuple[Item, ...] = ()


class _Splitter:
    """Walks once over the tokens `at` to `last - 1`."""

    def __init__(self, tokens: Sequence[Token], macros: Macros, at: int, last: int, depth: int) -> None:
        self._tokens, self._macros, self._at, self._last, self._depth = tokens, macros, at, last, depth
        self._items: list[Item] = []
        self._scope: list[str] = []
        self._start = -1
        """Where the declaration in progress begins; -1 between two of them."""
        self._nest = 0
        self._braced = self._body = False
        """Whether the declaration in progress has had a brace, and whether that is the body of a function."""
        self._branches: list[tuple[int, int]] = []

    def run(self) -> list[Item]:
        while self._at < self._last:
            token = self._tokens[self._at]
            if token.kind is Kind.DIRECTIVE:
                self._directive(token)
            elif token.kind is Kind.PUNCTUATION and self._punctuation(token.text):
                pass
            elif self._start < 0:
                self._begin(token)
            elif self._nest > 0 and token.text == "__global__":
                self._recover()
            self._at += 1
        if self._start >= 0:
            self._end(self._last)
        return self._items

    def _directive(self, token: Token) -> None:
        name = name_of(token.text)
        if name in ("if", "ifdef", "ifndef"):
            self._branches.append((self._nest, len(self._scope)))
        elif name in ("else", "elif") and self._branches:
            self._nest, scopes = self._branches[-1]
            del self._scope[scopes:]
        elif name == "endif" and self._branches:
            self._branches.pop()
        if self._start < 0:
            self._items.append(Item(self._at, self._at + 1, Declaration(Sort.DIRECTIVE), tuple(self._scope)))

    def _punctuation(self, text: str) -> bool:
        """Whether the token needs no more than the nesting it changes."""
        if text in "([":
            self._begin_if_idle()
            self._nest += 1
        elif text in ")]":
            self._nest = max(0, self._nest - 1)
        elif text == "{":
            self._open()
        elif text == "}":
            self._close()
        elif text == ";" and self._nest == 0:
            if self._start >= 0:
                self._end(self._at + 1)
        else:
            return False
        return True

    def _begin_if_idle(self) -> None:
        if self._start < 0:
            self._start = self._at

    def _begin(self, token: Token) -> None:
        following = self._tokens[self._at + 1].text if self._at + 1 < self._last else ""
        if token.text in _LABELS and following == ":":
            self._at += 1
        elif not self._macro(token):
            self._start = self._at

    def _macro(self, token: Token) -> bool:
        """A macro that stands alone, as `BEGIN_NAMESPACE` or `MAKE_KERNEL(float)` without a semicolon."""
        macro = self._macros.get(token.text)
        if macro is None or not macro.whole:
            return False
        end = self._at + 1
        if macro.parameters:
            end = _after_group(self._tokens, end, self._last)
            if end == self._at + 1:
                return False
        elif not macro.braced:
            return False
        kernel = not macro.words.isdisjoint(self._macros.kernel_marks)
        device = kernel or not macro.words.isdisjoint(self._macros.device_marks)
        declaration = Declaration(Sort.MACRO, frozenset(), kernel=kernel, device=device, fixed=macro.unbalanced)
        self._items.append(Item(self._at, end, declaration, tuple(self._scope)))
        self._at = end - 1
        return True

    def _open(self) -> None:
        self._begin_if_idle()
        if self._nest == 0 and not self._braced:
            head = describe([*self._tokens[self._start : self._at], _BRACE], self._macros)
            if head.sort is Sort.OPEN:
                names = sorted(head.names)
                self._items.append(Item(self._start, self._at + 1, head, tuple(self._scope)))
                self._scope.append(names[0] if names else "")
                self._start = -1
                return
            self._braced, self._body = True, head.sort is Sort.FUNCTION
        self._nest += 1

    def _close(self) -> None:
        if self._nest == 0:
            if self._start >= 0:
                self._end(self._at)
            if self._scope:
                self._scope.pop()
            self._items.append(Item(self._at, self._at + 1, Declaration(Sort.CLOSE), tuple(self._scope)))
            return
        self._nest -= 1
        if self._nest == 0 and self._body and self._following() not in (",", "{", "catch"):
            self._end(self._at + 1)

    def _following(self) -> str:
        for at in range(self._at + 1, self._last):
            if self._tokens[at].kind is not Kind.DIRECTIVE:
                return self._tokens[at].text
        return ""

    def _end(self, last: int) -> None:
        tokens = self._tokens[self._start : last]
        declaration = describe(tokens, self._macros)
        members: tuple[Item, ...] = ()
        if declaration.sort in (Sort.TYPE, Sort.ALIAS) and self._depth < DEPTH_MAX:
            members = _members(self._tokens, self._macros, self._start, last, self._depth)
        self._items.append(Item(self._start, last, declaration, tuple(self._scope), members))
        self._start = -1
        self._braced = self._body = False

    def _recover(self) -> None:
        """A kernel inside of brackets: some bracket before it was never closed. Start afresh where it begins."""
        at = self._at
        while at > self._start and self._tokens[at - 1].text not in (";", "}"):
            if self._tokens[at - 1].kind is Kind.DIRECTIVE:
                break
            at -= 1
        self._nest = 0
        if at > self._start:
            self._end(at)
            self._start = at


_BRACE: Final = Token(Kind.PUNCTUATION, "{", 0, 0)


def split(tokens: Sequence[Token], macros: Macros) -> list[Item]:
    """The declarations and directives of a file, in order; no token is in two of them."""
    return _Splitter(tokens, macros, 0, len(tokens), 0).run()


def _members(tokens: Sequence[Token], macros: Macros, first: int, last: int, depth: int) -> tuple[Item, ...]:
    """Those between the braces of a struct, class or union."""
    opened = next((at for at in range(first, last) if tokens[at].text == "{"), last)
    if not any(tokens[at].text in _CLASS_KEYS for at in range(first, opened)):
        return ()
    closed = next((at for at in range(last - 1, opened, -1) if tokens[at].text == "}"), opened)
    return tuple(_Splitter(tokens, macros, opened + 1, closed, depth + 1).run()) if closed > opened else ()


def _after_group(tokens: Sequence[Token], at: int, last: int) -> int:
    """Behind the bracketed group that begins at `at`; `at` itself where none does."""
    depth = 0
    for here in range(at, last):
        text = tokens[here].text
        depth += (text == "(") - (text == ")")
        if depth == 0:
            return here + 1 if text == ")" else at
    return at


__all__ = ["CONDITIONALS", "Item", "split"]
