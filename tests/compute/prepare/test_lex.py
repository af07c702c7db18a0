from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.compute.prepare.lex import Kind, tokens_of


def _texts(text: str) -> list[str]:
    return [token.text for token in tokens_of(text)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a /* } */ b // {\nc", ["a", "b", "c"]),
        ("a // goes on \\\n here\nb", ["a", "b"]),
        ('"/*" x "*/"', ['"/*"', "x", '"*/"']),
        (r'"\"{" y', [r'"\"{"', "y"]),
        ('R"x(a)" } )x" z', ['R"x(a)" } )x"', "z"]),
        ("1'000'000 '{' 0x1.8p-3f", ["1'000'000", "'{'", "0x1.8p-3f"]),
        ("f<<<1,2>>>(x)", ["f", "<<<", "1", ",", "2", ">", ">", ">", "(", "x", ")"]),
        ("#define A(x) \\\n  x /* y\n z */ + 1\nb", ["#define A(x) \\\n  x /* y\n z */ + 1", "b"]),
        ("a # b", ["a", "#", "b"]),
        ("#if 0\n#if 1\n' {\n#endif\n#else\na\n#endif", ["#if 0", "#else", "a", "#endif"]),
        ('"open\nnext', ['"open', "next"]),
        ("/* open", []),
        ('R"(open', ['R"(open']),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert _texts(text) == tokens


@given(st.text(alphabet="ab\\\n\"'/*#R(){}<>01 if", max_size=200))
def test_tokens_lie_in_order_and_spell_the_text(text: str) -> None:
    end = 0
    for token in tokens_of(text):
        assert end <= token.start < token.end <= len(text)
        assert text[token.start : token.end] == token.text
        end = token.end


def test_a_directive_is_one_token() -> None:
    (token,) = tokens_of('  #  include "a.h" // why')
    assert token.kind is Kind.DIRECTIVE
