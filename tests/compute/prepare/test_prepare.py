from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.compute.prepare import Prepared, prepare

DATA = Path(__file__).parent / "data"
KERNEL = "__global__ void k(int *x) { x[0] = %s; }\n"


def _prepare(text: str, **files: str) -> Prepared:
    return prepare({"k.cu": text, **files}, "k.cu")


def _kept(text: str, **files: str) -> str:
    return _prepare(text, **files).sources["k.cu"]


@pytest.mark.parametrize(
    "declaration",
    [
        "__device__ int f(int a) { return a; }",
        "__host__ __device__ int f(int a) { return a; }",
        "constexpr int f(int a) { return a; }",
        "template <class T, int N = (3 > 2)> __device__ T f(T a) { return a; }",
        "struct f { int a; };",
        "typedef struct { int a; } f;",
        "typedef int (*f)(int);",
        "using f = int;",
        "enum colour { red, f = 3 };",
        "enum class f : int { a };",
        "__constant__ float f[3];",
        "__device__ int f = 3;",
        "extern __shared__ int f[];",
        "__device__ int (*f)(int) = nullptr;",
        "#define f 3",
        "union alignas(16) f { int a; float b; };",
        "struct __align__(8) f { int a; };",
        "template <> struct f<int> { int a; };",
        "namespace f = cooperative_groups;",
    ],
)
def test_what_a_kernel_mentions_is_kept(declaration: str) -> None:
    text = declaration + "\n" + KERNEL % "f"
    assert _kept(text) == text


@pytest.mark.parametrize(
    "declaration",
    [
        "int f(int a) { return a; }",
        "static inline int f(int a);",
        "std::vector<int> f;",
        "int f = 3;",
        "float *f, *g;",
        "__host__ int f() { return 1; }",
        "template <class T> T f(T a) { return a; }",
        "int main(int f, char **argv) { k<<<1, 2>>>(0); }",
        "static_assert(sizeof(f) == 3);",
        "auto f = [](int a) { return a; };",
        "std::map<int, int> f = {{1, 2}, {3, 4}};",
    ],
)
def test_what_no_kernel_can_use_is_dropped(declaration: str) -> None:
    kept = _kept(declaration + "\n" + KERNEL % "f")
    assert kept == " " * 0 + "".join(" " if c != "\n" else c for c in declaration) + "\n" + KERNEL % "f"


def test_what_nothing_mentions_is_dropped() -> None:
    assert "other" not in _kept("__device__ int other() { return 1; }\n" + KERNEL % "1")


def test_mentions_are_followed() -> None:
    text = "#define A b\nstruct c { int x; };\n__device__ c b() { return c(); }\n" + KERNEL % "A().x"
    assert _kept(text) == text


def test_names_joined_by_a_macro_are_found() -> None:
    text = "#define CALL(t) get_##t()\n__device__ int get_one() { return 1; }\n" + KERNEL % "CALL(one)"
    assert _kept(text) == text


def test_every_kept_line_stays_where_it_was() -> None:
    text = (DATA / "whole.cu").read_text()
    kept = prepare({"whole.cu": text, "whole.h": (DATA / "whole.h").read_text()}, "whole.cu").sources["whole.cu"]
    assert len(kept.splitlines()) == len(text.splitlines())
    for old, new in zip(text.splitlines(), kept.splitlines()):
        same = zip(new.replace("constexpr", "const"), old, strict=True)
        assert all(is_now == was or is_now == " " for is_now, was in same)


def test_kernels_are_listed_with_file_and_line() -> None:
    text = '#include "b.h"\n\nnamespace n {\ntemplate <class T, int B>\n__global__ void k(T *x) {}\n}\n'
    kernels = _prepare(text, **{"b.h": "\n__global__ void z() {}\n"}).kernels
    assert [(k.name, k.template, k.file, k.line) for k in kernels] == [
        ("n::k", ("T", "B"), "k.cu", 4),
        ("z", (), "b.h", 2),
    ]


def test_host_members_of_a_class_are_dropped_and_its_data_is_not() -> None:
    members = ["std::string name() { return n; }", "int f;", "S() = default;", "__device__ int g() { return f; }"]
    text = "struct S {\n" + "\n".join(members) + "\n};\n"
    kept = _kept(text + KERNEL % "S().g()")
    assert "name" not in kept
    assert "int f;" in kept
    assert "S() = default;" in kept


def test_conditionals_inside_of_dropped_code_stay_balanced() -> None:
    text = "void f() {\n#ifdef A\n int x;\n#else\n#define B 1\n#endif\n}\n" + KERNEL % "B"
    kept = _kept(text)
    assert [line for line in kept.splitlines() if line.startswith("#")] == [
        "#ifdef A",
        "#else",
        "#define B 1",
        "#endif",
    ]
    assert "int x" not in kept


def test_a_kernel_behind_an_open_bracket_is_found() -> None:
    assert [k.name for k in _prepare("void f( {\nint x;\n" + KERNEL % "1").kernels] == ["k"]


def test_includes_are_found_from_the_including_file() -> None:
    files = {"inc/a.h": '#include "../lib/b.h"\n', "lib/b.h": "#define B 1\n"}
    prepared = _prepare('#include "inc/a.h"\n' + KERNEL % "B", **files)
    assert '#include "lib/b.h"' in prepared.sources["inc/a.h"]


def test_missing_headers_are_named() -> None:
    assert _prepare('\n#include "gone.h"\n').dropped.missing == ("k.cu(2): gone.h",)


def test_headers_that_include_each_other_end() -> None:
    prepared = _prepare('#include "a.h"\n', **{"a.h": '#include "b.h"\n', "b.h": '#include "a.h"\n'})
    assert set(prepared.sources) == {"k.cu", "a.h", "b.h"}


@pytest.mark.parametrize(
    ("launch", "instance"),
    [
        ("t<float><<<1, 2>>>(0)", "t<float>"),
        ("t<unsigned long><<<1, 2>>>(0)", "t<unsigned long>"),
        ("t<pair<int, 3>><<<1, 2>>>(0)", "t<pair<int,3>>"),
        ("cudaFuncSetAttribute(t<int>, a, b)", "t<int>"),
        ("using real = double; t<real><<<1, 2>>>(0)", "t<double>"),
        ("using a = int; using b = pair<a, a>; t<b><<<1, 2>>>(0)", "t<pair<int,int>>"),
        ("const bool yes = true; t<yes><<<1, 2>>>(0)", "t<true>"),
        ("const float *a; t<<<1, 2>>>(a)", "t<float>"),
    ],
)
def test_instances_are_read_from_launches(launch: str, instance: str) -> None:
    text = f"template <class T> __global__ void t(const T *x) {{}}\nvoid f() {{ {launch}; }}\n"
    assert _prepare(text).instances == (instance,)


def test_instances_are_deduced_through_a_host_template() -> None:
    text = """
template <class T> __global__ void t(const T *x) {}
template <typename U> void run(U *values, int n) { t<<<1, n>>>(values); }
int main() { double *numbers; run(numbers, 3); }
"""
    assert _prepare(text).instances == ("t<double>",)


WORDS = [
    *("__global__", "__device__", "void", "k", "f", "int", "struct", "class", "template", "<", ">", "(", ")", "{", "}"),
    *(
        ";",
        ",",
        "=",
        "::",
        "operator",
        "namespace",
        "using",
        "typedef",
        "enum",
        "extern",
        '"C"',
        "const",
        "<<<",
        "[",
        "]",
    ),
    *(
        "\n#if 0\n",
        "\n#ifdef A\n",
        "\n#else\n",
        "\n#endif\n",
        "\n#define M(x) k##x {\n",
        "M",
        "/*",
        "*/",
        "//",
        '"',
        "'",
    ),
    *(
        "\\\n",
        'R"(',
        ')"',
        "\n",
        " ",
        ":",
        "~",
        "public",
        '\n#include "k.cu"\n',
        '\n#include "h.h"\n',
        "decltype",
        "&&",
    ),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=80), st.lists(st.sampled_from(WORDS), max_size=20))
def test_any_text_is_prepared(words: list[str], header: list[str]) -> None:
    text = " ".join(words)
    prepared = prepare({"k.cu": text, "h.h": " ".join(header)}, "k.cu")
    assert prepared.sources["k.cu"].count("\n") == text.count("\n")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_characters_are_prepared(text: str) -> None:
    assert prepare({"k.cu": text}, "k.cu").sources["k.cu"].count("\n") == text.count("\n")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(DATA.glob("*.cu"))), st.data())
def test_a_real_file_with_a_hole_is_prepared(file: Path, data: st.DataObject) -> None:
    text = file.read_text()
    start = data.draw(st.integers(0, len(text)))
    prepare({"k.cu": text[:start] + text[start + data.draw(st.integers(1, 40)) :]}, "k.cu")


@pytest.mark.parametrize(
    "unit", ["(", "{", "<", "template <", "k<", "k(", "a::", "#if 0\n", 'R"(', "'", "int a{1}", "f(){}"]
)
def test_time_grows_with_the_length_only(unit: str) -> None:
    """Ten times the text may not cost a hundred times the steps: counted, not timed."""
    counts = [_steps(unit * n) for n in (300, 3000)]
    assert counts[1] < 20 * counts[0]


def _steps(text: str) -> int:
    count = 0

    def count_line(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += 1
        return count_line

    before = sys.gettrace()
    sys.settrace(count_line)
    try:
        prepare({"k.cu": "template <class T> __global__ void k(T *x) {}\n" + text}, "k.cu")
    finally:
        sys.settrace(before)
    return count
