"""Kernels for tests of a node, compiled once in this process."""

from __future__ import annotations

from p2pcompute.compute.compiler import Compiler

ADD = """
extern "C" __global__ void add(const int* a, const int* b, int* to, int n, int more) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) to[i] = a[i] + b[i] + more;
}
"""


_compiled: dict[str, bytes] = {}


async def compiled_ptx(source: str) -> bytes:
    """Canonical PTX, through the project's own compiler."""
    if source not in _compiled:
        async with Compiler() as compiler:
            _compiled[source] = (await compiler.compile({"k.cu": source}, "k.cu")).ptx.encode()
    return _compiled[source]
