"""Textures from an array to a kernel's result, and the ways to get them wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pcompute.cli.arguments import folders, named_arguments
from p2pcompute.client.arguments import In, Out
from p2pcompute.client.calls import Call
from p2pcompute.client.kernel import Kernel
from p2pcompute.client.local import run_here
from p2pcompute.client.task import Task, make_task
from p2pcompute.client.textures import Texture1D, Texture2D, Texture3D, TextureArgument
from p2pcompute.compute.compiler import CompiledSource, compile_cuda
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import decode_manifest
from p2pcompute.wire.texture import Addressing, Geometry

SOURCE = """
#include "half.cuh"
extern "C" __global__ void turned(cudaTextureObject_t image, float *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n * n) y[i] = SCALE * half_of(tex2D<float>(image, i / n + 0.5f, i % n + 0.5f));
}
"""
KERNEL = Kernel(
    SOURCE, "turned", "turn.cu", {"half.cuh": "__device__ float half_of(float x) { return x * 0.5f; }"}, {"SCALE": "2"}
)
IMAGE = np.arange(64, dtype=np.float32).reshape(8, 8)


async def compiled(kernel: Kernel = KERNEL) -> CompiledSource:
    return await compile_cuda({kernel.name: kernel.source, **kernel.headers}, kernel.name, defines=kernel.defines)


def task(of: CompiledSource, **named: Any) -> Task:
    return make_task(KERNEL, of, [Call(named, 2, 32)], device_ms_max=10_000, name="t")


async def test_a_kernel_reads_an_image_through_a_texture() -> None:
    made = task(await compiled(), image=Texture2D(IMAGE), y=Out.of((8, 8), np.float32), n=8)
    engine = CpuEngine(threads=1, memory_bytes_max=64 * limits.MIB)
    try:
        outputs, _ = await run_here(made, engine)
    finally:
        await engine.aclose()
    assert np.array_equal(outputs["y"], IMAGE.T)


async def test_a_peer_can_compile_the_manifests_sources_again() -> None:
    made = task(await compiled(), image=Texture2D(IMAGE), y=Out.of((8, 8), np.float32), n=8)
    manifest = decode_manifest(made.manifest)
    by_root = {merkle.blob_root(blob): bytes(blob) for blob in made.blobs}
    sources = {source.name: by_root[source.root].decode() for source in manifest.sources}
    again = await compile_cuda(
        sources, manifest.sources[0].name, defines=dict(manifest.defines), instances=manifest.instances
    )
    assert set(sources) == {"turn.cu", "half.cuh"}
    assert (merkle.blob_root(again.ptx.encode()), again.toolchain) == (manifest.ptx_root, manifest.toolchain)


async def test_a_texture_object_takes_a_texture_and_nothing_else() -> None:
    of = await compiled()
    with pytest.raises(UsageError, match="is a texture object; give it Texture1D, 2D or 3D"):
        task(of, image=In(IMAGE), y=Out.of((8, 8), np.float32), n=8)
    with pytest.raises(UsageError, match="parameter y of turned is no texture object"):
        task(of, image=Texture2D(IMAGE), y=Texture2D(IMAGE), n=8)


@pytest.mark.parametrize(
    ("argument", "geometry", "extent", "channels"),
    [
        (Texture1D(np.zeros(5, np.float32)), Geometry.LINE, (5, 1, 1), 1),
        (Texture1D(np.zeros((5, 4), np.uint8)), Geometry.LINE, (5, 1, 1), 4),
        (Texture2D(np.zeros((3, 5), np.float32)), Geometry.PLANE, (5, 3, 1), 1),
        (Texture2D(np.zeros((3, 5, 2), np.float32)), Geometry.PLANE, (5, 3, 1), 2),
        (Texture3D(np.zeros((2, 3, 5), np.float32)), Geometry.VOLUME, (5, 3, 2), 1),
        (Texture1D(np.zeros((2, 5), np.float32), layered=True), Geometry.LAYERED_LINES, (5, 1, 2), 1),
        (Texture2D(np.zeros((2, 3, 5), np.float32), layered=True), Geometry.LAYERED_PLANES, (5, 3, 2), 1),
    ],
)
def test_the_shape_of_an_array_gives_the_extent(
    argument: TextureArgument, geometry: Geometry, extent: tuple[int, int, int], channels: int
) -> None:
    view = argument.view()
    assert (view.geometry, view.extent, view.channels) == (geometry, extent, channels)


@pytest.mark.parametrize(
    "argument",
    [
        Texture2D(np.zeros(5, np.float32)),
        Texture2D(np.zeros((2, 3, 3), np.float32)),
        Texture3D(np.zeros((2, 2, 3, 3), np.float32), layered=True),
        Texture2D(np.zeros((2, 3), np.float32), addressing="repeat"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_texture_is_refused(argument: TextureArgument) -> None:
    with pytest.raises(UsageError):
        argument.view()


def test_textures_on_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", IMAGE)
    values = named_arguments((), (), (), (), [f"t={tmp_path / 'image.npy'}:2d,linear,normalized,wrap"])
    argument = values["t"]
    assert isinstance(argument, Texture2D)
    view = argument.view()
    assert (view.linear, view.normalized, view.addressing[0]) == (True, True, Addressing.WRAP)
    for wrong in ("2d,blurred", "linear", "1d,2d", ""):
        with pytest.raises(UsageError, match="--texture"):
            named_arguments((), (), (), (), [f"t={tmp_path / 'image.npy'}:{wrong}"])


def test_header_folders_are_bounded_and_must_exist(tmp_path: Path) -> None:
    assert folders([str(tmp_path)]) == (tmp_path,)
    with pytest.raises(UsageError, match="is no folder"):
        folders([str(tmp_path / "absent")])
    with pytest.raises(UsageError, match="the limit is 16"):
        folders([str(tmp_path)] * 17)
