"""C++ text to tokens with their places. Tolerant: whatever is there becomes some token, in linear time.

Comments and what stands under `#if 0` are no tokens. A directive is one token, continuation lines included.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """What a token is."""

    IDENTIFIER = "identifier"
    NUMBER = "number"
    STRING = "string"
    PUNCTUATION = "punctuation"
    DIRECTIVE = "directive"


class Token(NamedTuple):
    """`start` and `end` are character offsets into the file."""

    kind: Kind
    text: str
    start: int
    end: int


_SPACE: Final = re.compile(r"(?:[ \t\r\f\v\n]|\\\r?\n)+")
_LINE_COMMENT: Final = re.compile(r"//(?:[^\n\\]|\\[\s\S]|\\\Z)*")
_RAW_STRING: Final = re.compile(r'(?:u8|[uUL])?R"([^ ()\\\t\v\f\n"]{0,16})\(')
_STRING: Final = re.compile(r"""(?:u8|[uUL])?(?:"(?:[^"\\\n]|\\[\s\S])*"?|'(?:[^'\\\n]|\\[\s\S])*'?)""")
_NUMBER: Final = re.compile(r"\.?[0-9](?:[eEpP][+-]|'[0-9A-Za-z]|[0-9A-Za-z_.])*")
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w$]*")
_PUNCTUATION: Final = re.compile(r"<<<|::|->|\.\.\.|##|==|!=|<=|>=|&&|\|\||[\s\S]")
_DIRECTIVE_PIECE: Final = re.compile(r"""[^\n\\/"']+|\\\r?\n|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|[\\/]""")
_CONDITIONAL: Final = re.compile(r"[ \t]*#[ \t]*(ifdef|ifndef|if|elif|else|endif)\b")
_NEVER: Final = re.compile(r"#\s*if\s+(?:0|false)\s*(?://.*|/\*.*)?", re.DOTALL)


def tokens_of(text: str) -> list[Token]:
    """All tokens of a file, in order."""
    tokens: list[Token] = []
    at, line_start = 0, True
    while at < len(text):
        space = _SPACE.match(text, at)
        if space:
            line_start = line_start or "\n" in space[0].replace("\\\n", "").replace("\\\r\n", "")
            at = space.end()
        elif text.startswith("//", at):
            at = _end(_LINE_COMMENT, text, at)
        elif text.startswith("/*", at):
            at = _after(text, "*/", at + 2)
        elif text[at] == "#" and line_start:
            end = _directive_end(text, at)
            tokens.append(Token(Kind.DIRECTIVE, text[at:end], at, end))
            at = _skip_dead(text, end) if _NEVER.fullmatch(tokens[-1].text) else end
        else:
            tokens.append(_word(text, at))
            at, line_start = tokens[-1].end, False
    return tokens


def _word(text: str, at: int) -> Token:
    raw = _RAW_STRING.match(text, at)
    if raw:
        end = _after(text, f'){raw[1]}"', raw.end())
        return Token(Kind.STRING, text[at:end], at, end)
    for kind, pattern in (
        (Kind.STRING, _STRING),
        (Kind.IDENTIFIER, _IDENTIFIER),
        (Kind.NUMBER, _NUMBER),
        (Kind.PUNCTUATION, _PUNCTUATION),
    ):
        match = pattern.match(text, at)
        if match:
            return Token(kind, match[0], at, match.end())
    raise AssertionError("the last pattern takes any character")


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at + 1


def _after(text: str, mark: str, at: int) -> int:
    found = text.find(mark, at)
    return len(text) if found < 0 else found + len(mark)


def _directive_end(text: str, at: int) -> int:
    """Where the logical line ends: comments and continuation lines belong to it."""
    while at < len(text) and text[at] != "\n":
        if text.startswith("//", at):
            return _end(_LINE_COMMENT, text, at)
        if text.startswith("/*", at):
            at = _after(text, "*/", at + 2)
        else:
            at = _end(_DIRECTIVE_PIECE, text, at)
    return at


def _skip_dead(text: str, at: int) -> int:
    """From behind `#if 0` to the directive that ends the part nobody compiles."""
    depth = 0
    while True:
        line = text.find("\n", at)
        if line < 0:
            return len(text)
        at = line + 1
        found = _CONDITIONAL.match(text, at)
        if not found:
            continue
        if depth == 0 and found[1] in ("elif", "else", "endif"):
            return at
        depth += {"endif": -1, "elif": 0, "else": 0}.get(found[1], 1)
