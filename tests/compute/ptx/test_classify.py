"""What makes a kernel inexact is found, with its line."""

from __future__ import annotations

import pytest

from p2pcompute.compute import ptx
from p2pcompute.errors import UsageError
from tests.compute.ptx.running import HEADER, module


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("saxpy", "saxpy"),
        ("mandelbrot", "mandelbrot"),
        ("montecarlo", "montecarlo"),
        ("blockwise", "scan"),
        ("spaces", "histogram"),
        ("math", "exact"),
    ],
)
def test_exact_kernels(name: str, entry: str) -> None:
    assert ptx.classify(module(name), entry) == ptx.Classification(True, ())


@pytest.mark.parametrize(
    ("name", "entry", "word"), [("math", "approximate", "ex2.approx"), ("spaces", "float_sum", "in no fixed order")]
)
def test_inexact_kernels_say_why(name: str, entry: str, word: str) -> None:
    found = ptx.classify(module(name), entry)
    assert not found.exact
    assert any(word in reason and line > 0 for line, reason in found.reasons)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("mov.u32 %r, %clock;", "%clock"),
        ("mov.u32 %r, %smid;", "%smid"),
        ("activemask.b32 %r;", "activemask"),
        ("atom.global.add.u32 %r, [%d], 1;", "order of threads"),
        ("red.global.add.f32 [%d], %f;", "no fixed order"),
        ("div.full.f32 %f, %f, %f;", "approximate"),
    ],
)
def test_reasons(body: str, word: str) -> None:
    text = f"{HEADER}.visible .entry k() {{ .reg .b32 %r; .reg .b64 %d; .reg .f32 %f;\n{body}\nret; }}\n"
    found = ptx.classify(ptx.parse(text), "k")
    assert [line for line, _ in found.reasons] == [5]
    assert word in found.reasons[0][1]


def test_unused_integer_atomics_are_exact() -> None:
    body = ".reg .b64 %d; red.global.add.u32 [%d], 1; atom.global.max.s32 _, [%d], 1; ret;"
    text = f"{HEADER}.visible .entry k() {{ {body} }}\n"
    assert ptx.classify(ptx.parse(text), "k").exact


def test_unknown_entry_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no kernel 'nothing'"):
        ptx.classify(module("saxpy"), "nothing")


def test_a_texture_is_exact_unless_a_launch_blends_or_scales() -> None:
    text = (
        f"{HEADER}.visible .entry k(.param .u64 t) {{ .reg .b64 %t; .reg .f32 %f<5>; ld.param.u64 %t, [t]; "
        "tex.2d.v4.f32.f32 {%f0, %f1, %f2, %f3}, [%t, {%f4, %f4}]; ret; }"
    )
    module = ptx.parse(text)
    assert ptx.classify(module, "k").exact
    assert ptx.classify(module, "k", approximate_textures=True).name == "approx"
