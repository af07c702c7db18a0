"""All files a source brings together by #include, split into declarations."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from p2pcompute.compute.prepare.directives import Macros, included, words_of
from p2pcompute.compute.prepare.items import Item, split
from p2pcompute.compute.prepare.lex import Kind, Token, tokens_of


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A declaration by its numbers: file, item, and member where it is one of a class."""

    file: str
    item: int
    member: int = -1


@dataclasses.dataclass(frozen=True, slots=True)
class SourceFile:
    """`fragment`: it is included inside of a declaration (a piece of a body, a table), and so stays whole.
    `includes` gives, for the number of a directive's token, the file of the user it means, or an empty name."""

    name: str
    text: str
    tokens: Sequence[Token]
    items: Sequence[Item]
    includes: Mapping[int, str]
    fragment: bool

    def words(self, item: Item) -> set[str]:
        """The identifiers of a declaration."""
        return words_of(self.tokens[item.first : item.last])


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """`files` holds those that are reached from `main`; `missing` the includes nobody can serve, by (file, token)."""

    main: str
    files: Mapping[str, SourceFile]
    macros: Macros
    missing: Mapping[tuple[str, int], str]


def read(sources: Mapping[str, str], main: str, served: AbstractSet[str]) -> Program:
    """`served` names the headers that need no file of the user."""
    tokens: dict[str, list[Token]] = {}
    includes: dict[str, dict[int, str]] = {}
    missing: dict[tuple[str, int], str] = {}
    by_name = _by_last_name(sources)
    work = [main]
    while work:
        name = work.pop()
        if name in tokens:
            continue
        tokens[name] = tokens_of(sources[name])
        includes[name] = {}
        for at, token in enumerate(tokens[name]):
            wanted = included(token.text) if token.kind is Kind.DIRECTIVE else ""
            found = _find(wanted, name, sources, by_name) if wanted else ""
            if found:
                work.append(found)
                includes[name][at] = found
            elif wanted and wanted not in served and not wanted.startswith("/"):
                missing[name, at] = wanted
    macros = Macros(t.text for name in tokens for t in tokens[name] if t.kind is Kind.DIRECTIVE)
    items = {name: split(tokens[name], macros) for name in tokens}
    fragments = _fragments(items, includes)
    files = {
        name: SourceFile(name, sources[name], tokens[name], items[name], includes[name], name in fragments)
        for name in tokens
    }
    return Program(main, files, macros, missing)


def _by_last_name(sources: Mapping[str, str]) -> dict[str, str]:
    """File names without their folder, where only one file has that name."""
    found: dict[str, str] = {}
    for name in sources:
        last = posixpath.basename(name)
        found[last] = "" if last in found else name
    return found


def _find(wanted: str, includer: str, sources: Mapping[str, str], by_name: Mapping[str, str]) -> str:
    """The user's file an #include means: beside the including file, below the main file's folder, or the only one of
    that name. Empty where it is none of the user's."""
    if wanted.startswith("/"):
        return ""
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(includer), wanted))
    for name in (beside, posixpath.normpath(wanted), wanted):
        if name in sources:
            return name
    return by_name.get(posixpath.basename(wanted), "")


def _fragments(items: Mapping[str, Sequence[Item]], includes: Mapping[str, Mapping[int, str]]) -> set[str]:
    """Files included from within a declaration, and what those include."""
    work: list[str] = []
    for name, places in includes.items():
        alone = {item.first for item in items[name] if item.last == item.first + 1}
        work += [found for at, found in places.items() if at not in alone]
    fragments: set[str] = set()
    while work:
        name = work.pop()
        if name not in fragments:
            fragments.add(name)
            work += includes[name].values()
    return fragments
