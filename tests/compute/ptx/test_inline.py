"""Calls are expanded in place; what cannot be is refused by its line."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.errors import PtxError
from tests.compute.ptx.running import HEADER, kernel, module, run


def _collatz(x: int) -> int:
    steps = 0
    while x > 1 and steps < 100:
        x = 3 * x + 1 if x % 2 else x // 2
        steps += 1
    return steps


def _norm(v: int, bias: int, extra: int) -> np.float32:
    f = np.float32
    if v - 20 < 0:
        return f(-1)
    root = np.sqrt(f(v) * f(v) + f(2) * f(2))
    return root + f(bias) + f(extra) + f(_collatz(v - 20))


def test_calls_in_divergent_code_return_what_they_would_inline() -> None:
    values = np.arange(64, dtype=np.int32)
    out, picked = np.zeros(64, np.float32), np.zeros(64, np.int32)
    run(kernel("calls", "calls", (64, 1, 1)), (1, 1, 1), values, out, picked)
    expected = [_norm(v, -v, v) if v % 3 else _norm(v, 1, -1) * np.float32(2) for v in range(64)]
    np.testing.assert_array_equal(out, np.array(expected, np.float32))
    assert picked.tolist() == [sum(s * (s & 7) + s * ((s >> 3) & 7) for s in (v, v + 1)) for v in range(64)]


def test_library_functions_with_slow_paths_are_close_to_numpy() -> None:
    values = np.linspace(0.1, 99, 64)
    out = np.zeros(64)
    run(kernel("calls", "library", (64, 1, 1)), (1, 1, 1), values, out)
    np.testing.assert_allclose(out, values**1.3 + np.sin(values * 1e6), rtol=1e-14)


def test_canonical_text_has_no_calls() -> None:
    text = ptx.canonicalise(module("calls"))
    assert "\tcall" not in text
    assert ".func" not in text


FUNCTION = (
    ".func (.param .b32 r) f(.param .b32 a) {{ .reg .b32 %r; ld.param.b32 %r, [a]; {0} st.param.b32 [r], %r; ret; }}\n"
)
CALL = "{{ .param .b32 p0; .param .b32 r0; call.uni (r0), {0}, (p0); }}"


@pytest.mark.parametrize(
    ("function", "body", "what"),
    [
        (FUNCTION.format(CALL.format("f")), CALL.format("f"), "calls itself"),
        ("", CALL.format("g"), "'g' is not defined"),
        (FUNCTION.format(""), ".param .b32 p0;\ncall.uni f, (p0);", "wrong number"),
        (FUNCTION.format(""), ".reg .b64 %f; .param .b32 p0;\ncall %f, (p0);", "indirect call"),
        (FUNCTION.format(""), ".reg .b64 %d; .param .b32 p0;\nmov.u64 %d, p0;", "does not fit"),
        ("", ".reg .b32 %r;\nst.param.b32 [k_0], %r;", "writes a parameter"),
        (
            FUNCTION.format(""),
            ".reg .b16 %h; .param .b32 p0; .param .b32 r0; st.param.b16 [p0], %h;\ncall (r0), f, (p0);",
            "width",
        ),
    ],
)
def test_calls_that_cannot_be_expanded_are_refused(function: str, body: str, what: str) -> None:
    with pytest.raises(PtxError, match=r"line \d+.*" + what):
        ptx.parse(f"{HEADER}{function}.visible .entry k(.param .b32 k_0) {{\n{body}\nret;\n}}\n")


def test_calls_may_nest_deep_but_not_without_end() -> None:
    def chain(length: int) -> str:
        functions = FUNCTION.replace(" f(", " f0(").format("")
        for n in range(1, length):
            functions += FUNCTION.replace(" f(", f" f{n}(").format(
                f"{{ .param .b32 p0; .param .b32 r0; st.param.b32 [p0], %r; call.uni (r0), f{n - 1}, (p0); }}"
            )
        call = f"{{ .param .b32 p0; .param .b32 r0; call.uni (r0), f{length - 1}, (p0); }}"
        return f"{HEADER}{functions}.visible .entry k() {{\n{call}\nret;\n}}\n"

    assert ptx.parse(chain(100)).entries
    with pytest.raises(PtxError, match="nest deeper than 128"):
        ptx.parse(chain(140))
