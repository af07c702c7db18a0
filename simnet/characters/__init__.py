"""Peers of bad character: each wraps an honest core and departs from it in one way."""

from simnet.characters.base import Character
from simnet.characters.registry import CHARACTERS, character_of

__all__ = ["CHARACTERS", "Character", "character_of"]
