"""Characters by the names that scenarios use."""

from __future__ import annotations

import inspect
from typing import Final

from p2pcompute.errors import UsageError
from simnet.characters.base import Character, Honest
from simnet.characters.equivocators import DoubleBooker, Forker, Turncoat, TwoFaced
from simnet.characters.liars import (
    Colluder,
    Faker,
    Hydra,
    LazyCopier,
    Liar,
    Milker,
    Naysayer,
    Padder,
    Sleeper,
    SubtleLiar,
)
from simnet.characters.swindlers import (
    Crammer,
    Deadbeat,
    Haggler,
    Hoarder,
    LossInventor,
    Skimper,
    Squatter,
    Sybil,
    Understater,
    Withholder,
)
from simnet.characters.vandals import BlackHole, Eclipser, Forger, Replayer, Spammer

CHARACTERS: Final[dict[str, type[Character]]] = {
    "honest": Honest,
    "liar": Liar,
    "subtle-liar": SubtleLiar,
    "faker": Faker,
    "milker": Milker,
    "sleeper": Sleeper,
    "padder": Padder,
    "naysayer": Naysayer,
    "lazy-copier": LazyCopier,
    "gang": Colluder,
    "hydra": Hydra,
    "sybil": Sybil,
    "squatter": Squatter,
    "withholder": Withholder,
    "double-booker": DoubleBooker,
    "forker": Forker,
    "turncoat": Turncoat,
    "two-faced": TwoFaced,
    "deadbeat": Deadbeat,
    "hoarder": Hoarder,
    "skimper": Skimper,
    "loss-inventor": LossInventor,
    "understater": Understater,
    "haggler": Haggler,
    "crammer": Crammer,
    "spammer": Spammer,
    "eclipser": Eclipser,
    "black-hole": BlackHole,
    "forger": Forger,
    "replayer": Replayer,
}


def character_of(name: str) -> type[Character]:
    """Raises UsageError for a name nobody has."""
    try:
        return CHARACTERS[name]
    except KeyError:
        raise UsageError(f"there is no character {name!r}; there are: {', '.join(CHARACTERS)}") from None


def sentence_of(name: str) -> str:
    """What a character does, for people."""
    return " ".join((inspect.getdoc(character_of(name)) or "").split())
