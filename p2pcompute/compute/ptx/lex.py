"""PTX text to tokens, comments and white space dropped."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from p2pcompute.errors import PtxError
from p2pcompute.wire.limits import PTX_BYTES_MAX

TOKENS_MAX: Final = 2_000_000
"""The largest public kernel seen has 60,000; an 8 MiB file of one-letter words would have 4 million."""

_TOKEN: Final = re.compile(
    r"[ \t\r\f]*+(?:"
    r'([A-Za-z_$%.0-9][\w$%.]*(?:::[\w.]+)*|[{}()\[\],;:+\-<>=@!|]|"[^"\n]*")'
    r"|(\n)"
    r"|(//[^\n]*|/\*.*?\*/)"
    r"|\Z)",
    re.DOTALL | re.ASCII,
)
"""White space, then a word, mark or string, a new line, a comment, or the end."""
_WORD, _LINE, _COMMENT = 1, 2, 3
_BLANKS: Final = " \t\r\f"


class Token(NamedTuple):
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
            raise PtxError(f"PTX line {line}: unexpected character {text[place:].lstrip(_BLANKS)[0]!r}.")
        place, kind = match.end(), match.lastindex
        if kind == _WORD:
            tokens.append(Token(match[1], line))
            if len(tokens) > TOKENS_MAX:
                raise PtxError(f"PTX line {line}: more than {TOKENS_MAX} words.")
        elif kind == _LINE:
            line += 1
        elif kind == _COMMENT:
            line += match[_COMMENT].count("\n")
    return tokens
