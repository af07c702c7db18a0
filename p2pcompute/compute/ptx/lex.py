"""PTX text to tokens, comments and white space dropped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from p2pcompute.errors import PtxError
from p2pcompute.wire.limits import PTX_BYTES_MAX

TOKENS_MAX: Final = 2_000_000
"""The largest public kernel seen has 60,000; an 8 MiB file of one-letter words would have 4 million."""

_TOKEN: Final = re.compile(
    r"(?P<skip>[ \t\r\f]+|//[^\n]*|/\*.*?\*/)"
    r"|(?P<line>\n)"
    r"|(?P<word>[A-Za-z_$%.0-9][\w$%.]*(?:::[\w.]+)*)"
    r'|(?P<string>"[^"\n]*")'
    r"|(?P<mark>[{}()\[\],;:+\-<>=@!|])",
    re.DOTALL | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    line: int


def tokenize(text: str) -> list[Token]:
    """All tokens of a file. Raises PtxError for a byte that PTX does not have, or past the limits."""
    if len(text) > PTX_BYTES_MAX:
        raise PtxError(f"The PTX is {len(text)} bytes long; the limit is {PTX_BYTES_MAX}.")
    tokens: list[Token] = []
    line, place = 1, 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise PtxError(f"PTX line {line}: unexpected character {text[place]!r}.")
        place = match.end()
        kind = match.lastgroup
        if kind == "line":
            line += 1
        elif kind == "skip":
            line += match.group().count("\n")
        else:
            tokens.append(Token(match.group(), line))
            if len(tokens) > TOKENS_MAX:
                raise PtxError(f"PTX line {line}: more than {TOKENS_MAX} words.")
    return tokens
