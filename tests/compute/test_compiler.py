from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest

import kernels_cu
from p2pcompute.compute import compiler as compiler_module
from p2pcompute.compute import jail, ptx
from p2pcompute.compute.channel import LENGTH, ChildChannel
from p2pcompute.compute.compiler import Compiler
from p2pcompute.errors import CompileError, UsageError
from tests.compute.conftest import Compiled

EMPTY = 'extern "C" __global__ void f() {}\n'


@pytest.fixture
async def compiler() -> AsyncIterator[Compiler]:
    async with Compiler() as compiler:
        yield compiler


async def _error(compiler: Compiler, text: str, **files: str) -> str:
    with pytest.raises(CompileError) as caught:
        await compiler.compile({"k.cu": text, **files}, "k.cu", timeout_s=10)
    return str(caught.value)


async def test_a_kernel_comes_back_with_its_signature(compiler: Compiler) -> None:
    done = await compiler.compile({"k.cu": kernels_cu.load("saxpy").source}, "k.cu")
    (entry,) = done.entries
    assert (entry.name, entry.source_name) == ("saxpy", "saxpy")
    assert [p.size_bytes for p in entry.parameters] == [4, 4, 8, 8]
    assert done.toolchain.startswith("nvrtc-12.4.127-")
    assert len(done.toolchain) <= 64


async def test_the_same_source_gives_the_same_text_in_another_process(compiler: Compiler) -> None:
    source = {"k.cu": kernels_cu.load("mandelbrot").source}
    first = await compiler.compile(source, "k.cu")
    assert await compiler_module.compile_cuda(source, "k.cu") == first


@pytest.mark.parametrize("name", kernels_cu.names())
def test_library_kernels_are_of_the_class_their_manifest_claims(compiled: Compiled, name: str) -> None:
    spec = kernels_cu.load(name)
    module = ptx.parse(compiled(name).ptx)
    assert ptx.classify(module, spec.entry).exact == spec.exact


@pytest.mark.parametrize("name", kernels_cu.names())
def test_library_manifests_match_their_kernels(compiled: Compiled, name: str) -> None:
    spec = kernels_cu.load(name)
    entry = next(entry for entry in compiled(name).entries if entry.name == spec.entry)
    sizes = [8 if p.role != "scalar" else int(p.dtype[1:]) // 8 for p in spec.parameters]
    assert [p.size_bytes for p in entry.parameters] == sizes


async def test_an_error_names_the_users_file_and_line(compiler: Compiler) -> None:
    message = await _error(compiler, "__global__ void f(float *x) {\n\n  x[0] = y;\n}\n")
    assert message.startswith('k.cu(3): error: identifier "y" is undefined')


async def test_an_error_in_an_included_file_names_that_file(compiler: Compiler) -> None:
    text = '#include "part.h"\n__global__ void f(int *x) { x[0] = g(); }\n'
    message = await _error(compiler, text, **{"part.h": "\n__device__ int g() { return y; }\n"})
    assert message.startswith('part.h(2): error: identifier "y"')


async def test_local_headers_and_macros_are_found(compiler: Compiler) -> None:
    files = {
        "k.cu": '#include "inc/n.h"\nextern "C" __global__ void NAME(int *x) { x[0] = N; }',
        "inc/n.h": "#define N 5",
    }
    done = await compiler.compile(files, "k.cu", defines={"NAME": "five"})
    assert [entry.name for entry in done.entries] == ["five"]


async def test_common_headers_are_served_from_memory(compiler: Compiler) -> None:
    names = "cuda_runtime.h stdint.h cstdio cmath math.h cassert float.h climits algorithm cstdlib cuda_fp16.h"
    headers = "".join(f"#include <{name}>\n" for name in (*names.split(), "cuda_bf16.h", "cooperative_groups.h"))
    body = 'extern "C" __global__ void f(uint32_t *x) { assert(x[0] < UINT_MAX); x[0] = std::max(x[1], 7u); }'
    done = await compiler.compile({"k.cu": headers + body}, "k.cu")
    assert done.log == ""


async def test_a_librarys_header_brings_the_types_it_includes(compiler: Compiler) -> None:
    head = '#include <cublasLt.h>\nextern "C" __global__ void f(__nv_bfloat16 *x, half *y, cuComplex *z)'
    done = await compiler.compile({"k.cu": head + " { y[0] = __bfloat162float(x[0]) + z[0].x; }"}, "k.cu")
    assert [entry.name for entry in done.entries] == ["f"]


async def test_a_mangled_entry_keeps_its_source_name(compiler: Compiler) -> None:
    done = await compiler.compile({"k.cu": "namespace a { __global__ void scale(float *x) { x[0] *= 2; } }"}, "k.cu")
    assert done.entries[0].source_name == "scale"


async def test_templates_are_instantiated_by_name(compiler: Compiler) -> None:
    text = "template <class T> __global__ void scale(T *x) { x[0] *= 2; }"
    done = await compiler.compile({"k.cu": text}, "k.cu", instances=["scale<float>", "scale<int>"])
    assert {entry.source_name for entry in done.entries} == {"scale<float>", "scale<int>"}


async def test_an_instance_of_nothing_is_a_compile_error(compiler: Compiler) -> None:
    with pytest.raises(CompileError, match="absent"):
        await compiler.compile({"k.cu": EMPTY}, "k.cu", instances=["absent<float>"])


@pytest.mark.parametrize("path", ["/proc/self/environ", "/etc/passwd"])
async def test_no_file_can_be_included(compiler: Compiler, path: str) -> None:
    message = await _error(compiler, f'#include "{path}"\n' + EMPTY)
    assert "open" in message.splitlines()[0]
    assert "root:" not in message


async def test_no_file_outside_of_the_sources_is_included(compiler: Compiler) -> None:
    done = await compiler.compile({"k.cu": '#include "../../../../etc/passwd"\n' + EMPTY}, "k.cu")
    assert done.log == "note: k.cu(1): ../../../../etc/passwd was not found and left out"


async def test_no_file_can_be_probed(compiler: Compiler) -> None:
    await compiler.compile({"k.cu": '#if __has_include("/etc/passwd")\n#error seen\n#endif\n' + EMPTY}, "k.cu")


async def test_a_template_bomb_ends_at_its_time_limit(compiler: Compiler) -> None:
    bomb = """
template <unsigned long a, unsigned d> struct T {
  static constexpr unsigned long v = T<a * 2, d - 1>::v + T<a * 2 + 1, d - 1>::v;
};
template <unsigned long a> struct T<a, 0> { static constexpr unsigned long v = a; };
__device__ unsigned long x = T<1, 60>::v;
"""
    with pytest.raises(CompileError, match="longer than its time limit"):
        await compiler.compile({"k.cu": bomb}, "k.cu", timeout_s=1)
    await compiler.compile({"k.cu": EMPTY}, "k.cu")


async def test_a_huge_initialised_array_ends_only_its_own_compilation(compiler: Compiler) -> None:
    with pytest.raises(CompileError, match=r"k\.cu: the compiler (died|took longer)"):
        await compiler.compile({"k.cu": "__device__ char a[1ull << 40] = {1};" + EMPTY}, "k.cu", timeout_s=1)
    await compiler.compile({"k.cu": EMPTY}, "k.cu")


async def test_a_macro_bomb_ends_at_its_time_limit(compiler: Compiler) -> None:
    steps = [f"#define A{n} {'+'.join([f'A{n - 1}'] * 10)}" for n in range(1, 12)]
    bomb = "\n".join(["#define A0 1", *steps, "__device__ long a = A11;"])
    with pytest.raises(CompileError, match="longer than its time limit"):
        await compiler.compile({"k.cu": f"{bomb}\n{EMPTY}"}, "k.cu", timeout_s=1)
    await compiler.compile({"k.cu": EMPTY}, "k.cu")


@pytest.mark.parametrize("where", ["__device__", "__constant__", "__shared__", "local"])
async def test_an_array_of_a_terabyte_is_refused(compiler: Compiler, where: str) -> None:
    array = f"{'' if where == 'local' else where} char a[1ull << 40];"
    outside, inside = (array, "") if where in ("__device__", "__constant__") else ("", array)
    use = f"{inside} {'' if where == '__constant__' else 'a[x[0]] = 1;'} __syncthreads(); x[1] = a[x[2]];"
    message = await _error(compiler, f'{outside} extern "C" __global__ void k(int *x) {{ {use} }}')
    assert "1099511627776 is outside 0 to" in message


@pytest.mark.parametrize(
    ("asm", "reason"),
    [
        ("ret; } .visible .entry evil() {", "is not declared"),
        (".global .u32 stolen[10];", "'.global' is not supported in a body"),
        (r".file 1 \"/etc/passwd\"", "'.file' is not supported in a body"),
        ("mov.u32 %r1, %envreg0;", "envreg0"),
    ],
)
async def test_asm_that_is_no_instruction_is_refused(compiler: Compiler, asm: str, reason: str) -> None:
    source = f'extern "C" __global__ void k(int *x) {{ asm volatile("{asm}"); x[0] = 1; }}'
    assert reason in await _error(compiler, source)


async def test_an_entry_that_asm_brings_in_is_a_kernel_like_any_other(compiler: Compiler) -> None:
    """It is listed, and its stores are checked: nothing is gained by hiding it."""
    body = (
        r"ret;\n}\n.visible .entry evil(.param .u64 p) {\n.reg .b64 %d;\nld.param.u64 %d, [p]; st.global.u64 [%d], 7;"
    )
    source = f'extern "C" __global__ void k(int *x) {{ x[0] = 1; asm volatile("{body}"); }}'
    done = await compiler.compile({"k.cu": source}, "k.cu")
    assert [entry.name for entry in done.entries] == ["k", "evil"]
    kernel = ptx.compile_entry(ptx.parse(done.ptx), "evil", (1, 1, 1))
    memory = ptx.Memory([8])
    packed = ptx.pack_parameters(kernel.entry, [(memory.address(0) + 8).to_bytes(8, "little")])
    trap = kernel.launch(memory, packed, (1, 1, 1), threads=1, abort=ptx.Abort()).trap
    assert trap is not None
    assert trap.kind is ptx.TrapKind.OUT_OF_BOUNDS


async def test_a_source_without_kernels_is_an_error(compiler: Compiler) -> None:
    assert "no __global__ function" in await _error(compiler, "int main() { return 0; }\n")


def test_without_a_sandbox_nothing_is_compiled() -> None:
    script = (
        "import os, sys\n"
        "from p2pcompute.compute import jail, landlock\n"
        "landlock.abi_version = lambda: 0\n"
        "jail.main(int(sys.argv[1]), os.getppid(), 1)\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = msgspec.msgpack.encode(jail.Request("k.cu", {"k.cu": EMPTY}, (), 10_000))
        ours.sendall(LENGTH.pack(len(request)) + request)
        ours.shutdown(socket.SHUT_WR)
        command = [sys.executable, "-c", script, str(theirs.fileno())]
        subprocess.run(command, env={}, pass_fds=(theirs.fileno(),), timeout=60, check=True)
        channel = ChildChannel(ours.detach(), jail.REPLY_BYTES_MAX)
        replies = [msgspec.msgpack.decode(channel.receive()[0], type=jail.Reply) for _ in range(2)]
        channel.close()
    assert replies[1].ptx == ""
    assert replies[1].died.startswith("nothing was compiled: this kernel has no Landlock")


@pytest.mark.parametrize(
    ("sources", "main", "defines", "message"),
    [
        ({}, "k.cu", {}, "not among the sources"),
        ({"k.cu": "\0"}, "k.cu", {}, "NUL"),
        ({"k.cu": "\ud800"}, "k.cu", {}, "surrogate"),
        ({"k.cu": ""}, "k.cu", {"A B": "1"}, "no name for a macro"),
        ({"k.cu": ""}, "k.cu", {"A": "1\n#include"}, "not one line"),
        ({"k.cu": "x" * (5 << 20)}, "k.cu", {}, "the limit is"),
        ({f"{i}.cu": "" for i in range(65)}, "0.cu", {}, "the limit is"),
    ],
)
async def test_bad_arguments_are_refused(
    compiler: Compiler, sources: dict[str, str], main: str, defines: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await compiler.compile(sources, main, defines=defines)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("saxpy", "saxpy"),
        ("_Z5saxpyifPKfPf", "saxpy"),
        ("_ZN1a5scaleEPf", "scale"),
        ("_Z4plusIfEvPT_", "plus"),
        ("_Z4step3RodPf", "step"),
    ],
)
def test_source_names_are_read_from_mangled_ones(entry: str, name: str) -> None:
    assert compiler_module.source_name(entry) == name
