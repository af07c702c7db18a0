"""Peers of bad character: each wraps an honest core and departs from it in one way."""

from simnet.characters.base import Character, Ring
from simnet.characters.registry import CHARACTERS, character_of, sentence_of

__all__ = ["CHARACTERS", "Character", "Ring", "character_of", "sentence_of"]
