"""Characters by the names that scenarios use."""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import UsageError
from simnet.characters.base import Character, Honest
from simnet.characters.swindlers import BlackHole, Deadbeat, Liar

CHARACTERS: Final[dict[str, type[Character]]] = {
    "honest": Honest,
    "liar": Liar,
    "deadbeat": Deadbeat,
    "black-hole": BlackHole,
}


def character_of(name: str) -> type[Character]:
    """Raises UsageError for a name nobody has."""
    try:
        return CHARACTERS[name]
    except KeyError:
        raise UsageError(f"there is no character {name!r}; there are: {', '.join(CHARACTERS)}") from None
