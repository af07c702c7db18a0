"""Real files through the compiler: what comes out, what is said of the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pcompute.client.headers import included_files
from p2pcompute.compute.compiler import CompiledSource, Compiler
from p2pcompute.errors import CompileError

DATA = Path(__file__).parent / "prepare" / "data"


@pytest.fixture
async def compiler() -> AsyncIterator[Compiler]:
    async with Compiler() as compiler:
        yield compiler


async def _compile(compiler: Compiler, name: str) -> CompiledSource:
    file = DATA / name
    return await compiler.compile({**included_files(file), name: file.read_text()}, name)


def _claims(name: str, what: str) -> set[str]:
    """The names that a data file's own first lines promise; `_` stands for a blank inside of a name."""
    for line in (DATA / name).read_text().splitlines()[:2]:
        if line.startswith(f"// {what}: "):
            return {word.replace("_", " ") if "<" in word else word for word in line.split(": ")[1].split()}
    return set()


@pytest.mark.parametrize("name", sorted(file.name for file in DATA.glob("*.cu")))
async def test_the_kernels_of_a_real_file_come_out(compiler: Compiler, name: str) -> None:
    done = await _compile(compiler, name)
    assert {entry.source_name.replace(", ", ",") for entry in done.entries} == _claims(name, "kernels")
    assert {left.kernel for left in done.outcome.left_out} == _claims(name, "left out")


async def test_a_file_that_compiles_is_not_touched(compiler: Compiler) -> None:
    done = await compiler.compile({"k.cu": 'extern "C" __global__ void f() {}'}, "k.cu")
    assert not done.outcome.prepared


async def test_an_error_points_into_the_users_own_line(compiler: Compiler) -> None:
    text = "#include <iostream>\nint main() {\n  std::cout << 1;\n}\n__global__ void f(int *x) {\n  x[0] = y;\n}\n"
    with pytest.raises(CompileError, match=r'^k\.cu\(6\): error: identifier "y" is undefined'):
        await compiler.compile({"k.cu": text}, "k.cu")


async def test_an_error_points_into_the_users_own_header(compiler: Compiler) -> None:
    header = "#include <vector>\nstd::vector<int> v;\n__device__ int g() { return y; }\n"
    text = '#include "sub/../part.h"\n__global__ void f(int *x) { x[0] = g(); }\nint main() { f<<<1, 1>>>(0); }\n'
    with pytest.raises(CompileError, match=r'^part\.h\(3\): error: identifier "y"'):
        await compiler.compile({"k.cu": text, "part.h": header}, "k.cu")


async def test_a_kernel_left_out_has_its_reason(compiler: Compiler) -> None:
    done = await _compile(compiler, "partly.cu")
    reasons = {left.kernel: left.reason for left in done.outcome.left_out}
    assert reasons["worse"].startswith('partly.cu(12): error: identifier "not_declared"')
    assert reasons["bad"].startswith('partly.cu(5): error: identifier "unknown_type"')
    assert done.outcome.missing == ("partly.cu(3): nobody_has_this.h",)
    assert "nobody_has_this.h was not found" in done.log


async def test_no_other_overload_takes_the_place_of_a_broken_one(compiler: Compiler) -> None:
    text = """
__device__ int pick(long x) { return 1; }
__device__ int pick(int x) { return missing; }
__global__ void f(int *x) { x[0] = pick(x[1]); }
__global__ void g(int *x) { x[0] = 1; }
"""
    done = await compiler.compile({"k.cu": text}, "k.cu")
    assert [entry.source_name for entry in done.entries] == ["g"]


async def test_an_instance_the_user_names_is_made_of_a_real_file(compiler: Compiler) -> None:
    file = DATA / "templates.cu"
    done = await compiler.compile({file.name: file.read_text()}, file.name, instances=["fill<long long>"])
    assert [entry.source_name for entry in done.entries] == ["fill<long long>"]


async def test_templates_without_known_instances_are_named(compiler: Compiler) -> None:
    with pytest.raises(CompileError, match="templates of kernels only: f<T>"):
        await compiler.compile({"k.cu": "template <class T> __global__ void f(T *x) { x[0] = 1; }"}, "k.cu")


async def test_a_kernel_behind_a_condition_is_named(compiler: Compiler) -> None:
    with pytest.raises(CompileError, match=r"k\.cu\(2\): kernel f is not compiled under the macros"):
        await compiler.compile({"k.cu": "#ifdef GPU\n__global__ void f() {}\n#endif\n"}, "k.cu")


async def test_a_kernel_the_engines_refuse_does_not_take_the_others_along(compiler: Compiler) -> None:
    text = """
__global__ void breaks(int *x) { asm("brkpt;"); }
__global__ void plain(int *x) { x[0] = 1; }
"""
    done = await compiler.compile({"k.cu": text}, "k.cu")
    assert [entry.source_name for entry in done.entries] == ["plain"]
    assert "what the engines accept" in done.outcome.left_out[0].reason


async def test_the_same_file_gives_the_same_text_every_time(compiler: Compiler) -> None:
    assert await _compile(compiler, "whole.cu") == await _compile(compiler, "whole.cu")


async def test_a_kernel_with_an_instruction_the_engines_lack_does_not_block_the_others(compiler: Compiler) -> None:
    source = """
extern "C" __global__ void cube(cudaTextureObject_t t, float *y) { y[0] = texCubemap<float>(t, 1.0f, 2.0f, 3.0f); }
extern "C" __global__ void plane(cudaTextureObject_t t, float *y) { y[0] = tex2D<float>(t, 1.0f, 2.0f); }
"""
    compiled = await compiler.compile({"both.cu": source}, "both.cu")
    assert [entry.name for entry in compiled.entries] == ["plane"]
    (left,) = compiled.outcome.left_out
    assert left.kernel == "cube"
    assert "tex.cube" in left.reason
