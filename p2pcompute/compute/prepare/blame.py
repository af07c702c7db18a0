"""A compiler's errors to the declarations they are about, and what to try without.

Leaving out a function or a type could make another overload take its place without a word. So whatever mentions one
that was left out goes too: a kernel is compiled as it was written, or not at all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from p2pcompute.compute.prepare.declaration import Sort
from p2pcompute.compute.prepare.prepared import Preparation
from p2pcompute.compute.prepare.program import Place
from p2pcompute.compute.prepare.select import Selection

_ERROR: Final = re.compile(r"^([^\n()]{1,256})\((\d{1,9})\): (?:catastrophic )?error: ([^\n]*)", re.MULTILINE)
_AT_LINE: Final = re.compile(r"at line (\d{1,9})(?: of \"?([^\n\"]{1,256})\"?)?$", re.MULTILINE)
_EXPRESSION: Final = re.compile(r'Input name expression was: "([^"\n]*)"')
_SILENT: Final = frozenset({Sort.VARIABLE, Sort.ALIAS, Sort.OTHER})
"""Nothing can take the place of these unseen: the compiler will say who misses them."""
_NEVER: Final = frozenset({Sort.OPEN, Sort.CLOSE, Sort.DIRECTIVE})
ERRORS_MAX: Final = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Blame:
    """`places` with the first error about each; `instances` (spelled without blanks) that cannot be made."""

    places: Mapping[Place, str]
    instances: frozenset[str]


def blame(preparation: Preparation, selection: Selection, without: AbstractSet[Place], log: str) -> Blame:
    """Declarations to leave out next, so that the rest may compile; none where the errors are about no declaration."""
    lines = _Lines(preparation, selection, without)
    found: dict[Place, str] = {}
    instances = {re.sub(r"\s", "", name) for name in _EXPRESSION.findall(log)}
    for message, locations in _errors(log):
        for file, line in locations:
            places = lines.at(file, line)
            if places:
                for place in places:
                    found.setdefault(place, message)
                break
    easy = {place: why for place, why in found.items() if _is_easy(selection, place)}
    chosen = _with_dependents(selection, easy or found)
    return Blame(chosen, frozenset() if chosen else frozenset(instances))


def _errors(log: str) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Each error with the places it names: its own, then those that brought the compiler there."""
    starts = list(_ERROR.finditer(log))[:ERRORS_MAX]
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(log)
        block = log[start.end() : end]
        places = [(start[1], int(start[2]))]
        places += [(match[2] or start[1], int(match[1])) for match in _AT_LINE.finditer(block)]
        yield start[0], places


class _Lines:
    """Which kept declaration stands on a line."""

    def __init__(self, preparation: Preparation, selection: Selection, without: AbstractSet[Place]) -> None:
        self._preparation, self._selection, self._without = preparation, selection, without
        self._tables: dict[str, dict[int, list[Place]]] = {}

    def at(self, file: str, line: int) -> list[Place]:
        if file not in self._preparation.program.files:
            return []
        if file not in self._tables:
            self._tables[file] = self._table(file)
        return self._tables[file].get(line, [])

    def _table(self, name: str) -> dict[int, list[Place]]:
        file = self._preparation.program.files[name]
        number = _Numbering(file.text)
        table: dict[int, list[Place]] = {}
        for at, item in enumerate(file.items):
            place = Place(name, at)
            if place not in self._selection.kept or item.declaration.sort in _NEVER:
                continue
            spans = [(place, item.first, item.last)]
            for member_at, member in enumerate(item.members):
                if member.declaration.sort is Sort.FUNCTION:
                    spans.append((Place(name, at, member_at), member.first, member.last))
            for span, first, last in spans:
                for line in number.lines(file.tokens[first].start, file.tokens[last - 1].end):
                    if span.member >= 0:
                        table[line] = [span]
                    else:
                        table.setdefault(line, []).append(span)
        return table


class _Numbering:
    """Offsets that only grow, to lines from 1."""

    def __init__(self, text: str) -> None:
        self._text, self._offset, self._line = text, 0, 1

    def lines(self, start: int, end: int) -> range:
        if start < self._offset:
            self._offset, self._line = 0, 1
        first = self._line + self._text.count("\n", self._offset, start)
        self._offset, self._line = start, first
        return range(first, first + self._text.count("\n", start, end) + 1)


def _is_easy(selection: Selection, place: Place) -> bool:
    return place.member >= 0 or selection.item(Place(place.file, place.item)).declaration.sort in _SILENT


def _with_dependents(selection: Selection, found: Mapping[Place, str]) -> dict[Place, str]:
    chosen = dict(found)
    work = list(found)
    users: dict[str, list[Place]] | None = None
    while work:
        place = work.pop()
        names = _names(selection, place)
        if not names:
            continue
        users = users if users is not None else _users(selection)
        for name in sorted(names):
            for user in users.get(name, ()):
                if user not in chosen and (user.file, user.item) != (place.file, place.item):
                    chosen[user] = f"{chosen[place]} (in {name})" if " (in " not in chosen[place] else chosen[place]
                    work.append(user)
    return chosen


def _names(selection: Selection, place: Place) -> set[str]:
    """By which names others would silently get something else once this is gone."""
    item = selection.item(Place(place.file, place.item))
    if place.member >= 0:
        return set(item.members[place.member].declaration.names)
    if item.declaration.sort in _SILENT:
        return set()
    if "operator" in item.declaration.names:
        words = selection.mentions(place)
        return {name for name in words if name in selection.types}
    return set(item.declaration.names)


def _users(selection: Selection) -> dict[str, list[Place]]:
    users: dict[str, list[Place]] = {}
    for place in sorted(selection.kept, key=lambda p: (p.file, p.item)):
        if selection.item(place).declaration.sort not in _NEVER:
            for word in selection.mentions(place):
                users.setdefault(word, []).append(place)
    return users
