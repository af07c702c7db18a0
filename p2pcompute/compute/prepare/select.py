"""Which declarations the device code needs: the kernels, and all that they mention, and so on.

A name is looked up without regard to scope, so too much may be kept, never too little. What no kernel can use (plain
host functions, host variables that are not constant) is not kept, whatever mentions it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from p2pcompute.compute.prepare.declaration import Sort
from p2pcompute.compute.prepare.directives import words_of
from p2pcompute.compute.prepare.items import Item
from p2pcompute.compute.prepare.program import Place, Program, SourceFile

PASTES_MAX: Final = 64
"""Words joined by `##` whose completions are looked for; each costs a look at every name."""
SERVED_NAMESPACES: Final = frozenset({"std", "cuda", "cooperative_groups", "nvcuda", "cg", "cub"})
VECTOR_TYPES: Final = frozenset(
    f"{base}{lanes}"
    for base in ("char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "longlong", "float", "double")
    for lanes in (2, 3, 4)
)
_ALWAYS: Final = frozenset({Sort.OPEN, Sort.CLOSE, Sort.DIRECTIVE})


def host_members(item: Item, without: AbstractSet[Place], place: Place) -> set[int]:
    """Member functions of a class that no kernel can call, by number, and those in `without`."""
    return {
        at
        for at, member in enumerate(item.members)
        if (member.declaration.sort is Sort.FUNCTION and not member.declaration.device and not member.declaration.fixed)
        or Place(place.file, place.item, at) in without
    }


class Selection:
    """`kept` are the places that stay."""

    def __init__(self, program: Program, without: AbstractSet[Place] = frozenset(), words: Iterable[str] = ()) -> None:
        """`without` may not be kept; `words` are needed besides what kernels mention."""
        self._program, self._without = program, without
        self._items: dict[Place, tuple[SourceFile, Item]] = {}
        self._by_name: dict[str, list[Place]] = {}
        self._pastes = 0
        for file in program.files.values():
            for at, item in enumerate(file.items):
                self._note(Place(file.name, at), file, item)
        self._namespaces = SERVED_NAMESPACES.union(*(item.scope for _, item in self._items.values()))
        self.types = VECTOR_TYPES.union(
            *(item.declaration.names for _, item in self._items.values() if item.declaration.sort is Sort.TYPE)
        )
        """Names of the program's own classes and of CUDA's vectors: what an operator may be overloaded for."""
        self.kept: set[Place] = set()
        self._seen: set[str] = set()
        self._work: list[str] = []
        for place, (_, item) in self._items.items():
            if self._is_root(item):
                self._keep(place)
        self._mention(words)
        while self._work:
            self._follow(self._work.pop())

    def item(self, place: Place) -> Item:
        return self._items[place][1]

    def mentions(self, place: Place) -> set[str]:
        """The identifiers of a declaration, without those of members that are left out."""
        file, item = self._items[place]
        words = file.words(item)
        dropped = host_members(item, self._without, place)
        if dropped:
            words = words_of(file.tokens[item.first : item.members[0].first])
            words |= words_of(file.tokens[item.members[-1].last : item.last])
            for at, member in enumerate(item.members):
                if at not in dropped:
                    words |= file.words(member)
        for at in range(item.first, item.last) if file.includes else ():
            if at in file.includes:
                words |= words_of(self._program.files[file.includes[at]].tokens)
        return words

    def _note(self, place: Place, file: SourceFile, item: Item) -> None:
        self._items[place] = (file, item)
        declaration = item.declaration
        for name in (*declaration.names, declaration.owner):
            if name and declaration.sort not in _ALWAYS:
                self._by_name.setdefault(name, []).append(place)

    def _is_root(self, item: Item) -> bool:
        declaration = item.declaration
        if declaration.kernel:
            return True
        if declaration.sort is Sort.USING:
            return bool(declaration.names & self._namespaces)
        if declaration.sort is Sort.MACRO:
            return declaration.device or declaration.fixed
        return declaration.device and "operator" in declaration.names and not declaration.owner

    def _keep(self, place: Place) -> None:
        if place not in self.kept and place not in self._without:
            self.kept.add(place)
            self._mention(self.mentions(place))

    def _mention(self, words: Iterable[str]) -> None:
        new = [word for word in words if word not in self._seen]
        self._seen.update(new)
        self._work += new

    def _follow(self, word: str) -> None:
        for place in self._by_name.get(word, ()):
            if _usable(self._items[place][1]):
                self._keep(place)
        macro = self._program.macros.get(word)
        if macro is None:
            return
        self._mention(macro.words)
        for part in sorted(macro.pasted)[: PASTES_MAX - self._pastes]:
            self._pastes += 1
            self._mention([name for name in self._by_name if name.startswith(part) or name.endswith(part)])


def _usable(item: Item) -> bool:
    """Whether device code may refer to it at all."""
    declaration = item.declaration
    if declaration.sort in (Sort.FUNCTION, Sort.INSTANTIATION):
        return declaration.device
    if declaration.sort is Sort.VARIABLE:
        return declaration.device or declaration.constant
    return declaration.sort in (Sort.TYPE, Sort.ALIAS)
