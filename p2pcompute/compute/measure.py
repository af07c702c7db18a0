"""How fast an engine is, for offers: two arithmetic kernels and a copying one through the same door as every job.

Each kernel runs twice with different repeats and the difference counts, so start, page faults and compiling cancel out.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.compute import ptx
from p2pcompute.compute.engine import Engine
from p2pcompute.errors import KernelError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role

_THREADS: Final = 256
_FMA_CHAINS: Final = 8
_FMA_LOOPS: Final = 2_048
_REPEATS: Final = (1, 9)
_DEVICE_MS_MAX: Final = 10_000

_HEADER: Final = ".version 8.4\n.target sm_75\n.address_size 64\n"
_COPY_PTX: Final = """
.visible .entry copy(.param .u64 copy_to, .param .u64 copy_from)
{
.reg .b32 %r<4>;
.reg .b64 %rd<8>;
ld.param.u64 %rd1, [copy_to];
ld.param.u64 %rd2, [copy_from];
mov.u32 %r1, %ctaid.x;
mov.u32 %r2, %tid.x;
mad.lo.s32 %r3, %r1, 256, %r2;
mul.wide.s32 %rd3, %r3, 8;
add.s64 %rd4, %rd1, %rd3;
add.s64 %rd5, %rd2, %rd3;
ld.global.u64 %rd6, [%rd5];
st.global.u64 [%rd4], %rd6;
ret;
}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """Millions of single- and of double-precision operations, and of bytes read and written, per second."""

    mflops_f32: int
    mflops_f64: int
    mbytes_per_s: int


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How much a device is given at a time: enough to fill it for a while. `blocks` of arithmetic; bytes copied."""

    blocks: int
    copy_bytes: int


PROCESSORS: Final = Effort(64, 16 * limits.MIB)
GPU: Final = Effort(4_096, 256 * limits.MIB)
"""Some thirty blocks of 256 threads for each multiprocessor of the largest: over a millisecond a launch."""


async def measure(engine: Engine, effort: Effort = PROCESSORS) -> Speed:
    """Well under a second. Raises KernelError when the engine cannot run the kernels."""
    flops = 2 * _FMA_CHAINS * _FMA_LOOPS * _THREADS * effort.blocks
    f32_us = await _launch_us(engine, _fma_ptx(_F32), "fma", effort.blocks, 4 * _THREADS * effort.blocks)
    f64_us = await _launch_us(engine, _fma_ptx(_F64), "fma", effort.blocks, 8 * _THREADS * effort.blocks)
    copy_us = await _launch_us(engine, _COPY_PTX, "copy", effort.copy_bytes // 8 // _THREADS, effort.copy_bytes)
    return Speed(int(flops / f32_us), int(flops / f64_us), int(2 * effort.copy_bytes / copy_us))


_F32: Final = ("f32", "0f3F000000", "0f3F800000", 4)
_F64: Final = ("f64", "0d3FE0000000000000", "0d3FF0000000000000", 8)
"""PTX's name of a type, its 0.5 and its 1, and its bytes."""


def _fma_ptx(kind: tuple[str, str, str, int]) -> str:
    """Independent chains x = x * 0.5 + 1 in a loop: nothing but the multiply-add units is busy."""
    name, half, one, size_bytes = kind
    chains = [f"%f{i}" for i in range(1, _FMA_CHAINS + 1)]
    body = "".join(f"fma.rn.{name} {x}, {x}, {half}, {one};\n" for x in chains)
    total = "".join(f"add.rn.{name} %f1, %f1, {x};\n" for x in chains[1:])
    return f"""
.visible .entry fma(.param .u64 fma_to, .param .u64 fma_from)
{{
.reg .pred %p<2>;
.reg .b32 %r<6>;
.reg .{name} %f<{_FMA_CHAINS + 1}>;
.reg .b64 %rd<4>;
ld.param.u64 %rd1, [fma_to];
mov.u32 %r1, %ctaid.x;
mov.u32 %r2, %tid.x;
mad.lo.s32 %r3, %r1, {_THREADS}, %r2;
{"".join(f"cvt.rn.{name}.s32 {x}, %r3;{chr(10)}" for x in chains)}mov.u32 %r4, 0;
$L_loop:
{body}add.s32 %r4, %r4, 1;
setp.lt.s32 %p1, %r4, {_FMA_LOOPS};
@%p1 bra $L_loop;
{total}mul.wide.s32 %rd2, %r3, {size_bytes};
add.s64 %rd3, %rd1, %rd2;
st.global.{name} [%rd3], %f1;
ret;
}}
"""


async def _launch_us(engine: Engine, body: str, entry: str, blocks: int, size_bytes: int) -> float:
    """Microseconds for one launch, at least 1. Where noise drowned the difference of the two runs, what start and
    compiling cost is left in: an offer may promise too little, never too much."""
    text = ptx.canonicalise(ptx.parse(_HEADER + body)).encode()
    few, many = [await _device_us(engine, text, entry, blocks, size_bytes, repeats) for repeats in _REPEATS]
    difference_us = (many - few) / (_REPEATS[1] - _REPEATS[0])
    whole_us = many / _REPEATS[1]
    return max(1.0, difference_us if difference_us > whole_us / 2 else whole_us)


async def _device_us(engine: Engine, text: bytes, entry: str, blocks: int, size_bytes: int, repeats: int) -> int:
    arguments = (Argument(buffer="to"), Argument(buffer="from"))
    manifest = Manifest(
        name="measure",
        toolchain="",
        sources=(),
        ptx_root=bytes(32),
        ptx_size_bytes=len(text),
        buffers=(
            Buffer("done", "u8", (1,), Role.OUT),
            Buffer("to", "u8", (size_bytes,), Role.TEMP),
            Buffer("from", "u8", (size_bytes,), Role.TEMP),
        ),
        launches=(Launch(entry, (blocks, 1, 1), (_THREADS, 1, 1), arguments, repeats=repeats),),
        device_ms_max=_DEVICE_MS_MAX,
        memory_bytes_max=2 * size_bytes + 1,
    )
    result = await engine.run(manifest, text, {})
    if result.status is not JobStatus.OK:
        raise KernelError(f"the engine cannot be measured: {result.reason}")
    return result.device_us
