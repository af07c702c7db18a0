"""Texture reads: plain cases against numpy, and every kind of texture against the interpreter, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.interpret import BufferNote, CheckedLaunch, Kind, check
from p2pcompute.errors import UsageError
from p2pcompute.wire.texture import Addressing, Geometry, Texture
from tests.compute.ptx.interpret.checking import copied
from tests.compute.ptx.running import HEADER

THREADS = 64
COORDINATES = {
    "1d": "%c0",
    "2d": "%c0, %c1",
    "3d": "%c0, %c1, %c2, %c2",
    "a1d": "%n0, %c0",
    "a2d": "%n0, %c0, %c1, %c1",
}
NAMES = {
    Geometry.LINE: "1d", Geometry.PLANE: "2d", Geometry.VOLUME: "3d", Geometry.LAYERED_LINES: "a1d",
    Geometry.LAYERED_PLANES: "a2d",
}  # fmt: skip
EXTENTS = {
    Geometry.LINE: (7, 1, 1), Geometry.PLANE: (5, 3, 1), Geometry.VOLUME: (4, 3, 2), Geometry.LAYERED_LINES: (6, 1, 3),
    Geometry.LAYERED_PLANES: (3, 4, 2),
}  # fmt: skip
Array = NDArray[Any]


def kernel_text(geometry: Geometry, result: str, coordinate: str) -> str:
    """y[4 * thread + channel] = the texture at the thread's own coordinates; three of them and a layer are given."""
    place, kind = COORDINATES[NAMES[geometry]], coordinate
    register = "f32" if kind == "f32" else "b32"
    loads = "".join(f"ld.global.{kind} %c{n}, [%in+{4 * n}];\n" for n in range(3))
    stores = "".join(f"st.global.{result} [%out+{4 * n}], %y{n};\n" for n in range(4))
    return f"""{HEADER}.visible .entry k(.param .u64 t, .param .u64 x, .param .u64 y) {{
.reg .b64 %t, %in, %out, %d; .reg .{register} %c<3>; .reg .b32 %n0, %id;
.reg .{"f32" if result == "f32" else "b32"} %y<4>;
ld.param.u64 %t, [t]; ld.param.u64 %in, [x]; ld.param.u64 %out, [y]; mov.u32 %id, %tid.x;
mul.wide.u32 %d, %id, 16; add.s64 %in, %in, %d; add.s64 %out, %out, %d;
{loads}ld.global.u32 %n0, [%in+12];
tex.{NAMES[geometry]}.v4.{result}.{kind} {{%y0, %y1, %y2, %y3}}, [%t, {{{place}}}];
{stores}ret; }}
"""


@dataclass
class Bench:
    """A kernel, its texture's elements, and where its threads look."""

    module: ptx.Module
    texture: Texture
    dtype: str
    elements: Array
    places: Array

    def _memory(self, out: Array) -> tuple[ptx.Memory, bytes]:
        memory = ptx.Memory([copied(self.elements), copied(self.places), out])
        values = [memory.texture(0, self.dtype, self.texture), memory.address(1), memory.address(2)]
        parameters = [value.to_bytes(8, "little") for value in values]
        return memory, ptx.pack_parameters(self.module.entries["k"], parameters)

    def on_engine(self) -> tuple[ptx.LaunchResult, Array]:
        out = copied(np.zeros((THREADS, 4), np.uint32))
        memory, parameters = self._memory(out)
        compiled = ptx.compile_entry(self.module, "k", (THREADS, 1, 1))
        return compiled.launch(memory, parameters, (1, 1, 1), threads=1, abort=ptx.Abort()), out

    def interpreted(self) -> Array:
        out = copied(np.zeros((THREADS, 4), np.uint32))
        memory, parameters = self._memory(out)
        notes = [BufferNote("t", True), BufferNote("x", True), BufferNote("y", False)]
        result = check(self.module, memory, notes, [CheckedLaunch("k", (1, 1, 1), (THREADS, 1, 1), parameters)])
        assert result.findings == ()
        return out


def elements_of(dtype: str, count: int) -> Array:
    rng = np.random.default_rng(count)
    kind = np.dtype({"i": "i", "u": "u", "f": "f"}[dtype[0]] + str(int(dtype[1:]) // 8))
    if dtype[0] == "f":
        return (rng.normal(size=count) * 8).astype(kind)
    return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, count, kind, endpoint=True)


def float_places(scale: float) -> Array:
    """Anywhere around the texture, on edges and halves, far away, and what is no number."""
    rng = np.random.default_rng(5)
    places = (rng.uniform(-2, 3, (THREADS, 4)) * scale).astype(np.float32)
    odd = np.array([0, -0.0, 0.5, 1, -1, 1e30, -1e30, np.nan, np.inf, -np.inf, 2**24, 0.99999994], np.float32)
    places[: 2 * len(odd), 0] = np.concatenate([odd, odd * np.float32(scale)])
    places[: 2 * len(odd), 1] = np.roll(places[: 2 * len(odd), 0], 5)
    places[:, 3].view(np.uint32)[:] = rng.choice([0, 1, 2, 3, 2**31, 2**32 - 1], THREADS)
    return places


def bench(texture: Texture, dtype: str, result: str, coordinate: str = "f32") -> Bench:
    module = ptx.parse(kernel_text(texture.geometry, result, coordinate))
    places = float_places(1.0 if texture.normalized else 6.0)
    if coordinate == "s32":
        places = np.random.default_rng(6).integers(-2, 8, (THREADS, 4), np.int32)
    return Bench(module, texture, dtype, elements_of(dtype, texture.elements), places)


def cases() -> list[tuple[Texture, str, str, str]]:
    """Every geometry with every filter and addressing; every element type; numbers as coordinates."""
    found = []
    for geometry, linear in product(Geometry, (False, True)):
        for normalized, mode in [
            (False, Addressing.CLAMP),
            (False, Addressing.BORDER),
            *((True, m) for m in Addressing),
        ]:
            modes = (mode, Addressing.CLAMP if mode is Addressing.BORDER else mode, mode)
            texture = Texture(geometry, EXTENTS[geometry], 1, modes, linear, normalized)
            found.append((texture, "f32", "f32", "f32"))
    plane = EXTENTS[Geometry.PLANE]
    for dtype, channels in product(("i8", "u8", "i16", "u16", "i32", "u32", "f16", "f32"), (1, 2, 4)):
        texture = Texture(Geometry.PLANE, plane, channels)
        found.append((texture, dtype, {"i": "s32", "u": "u32", "f": "f32"}[dtype[0]], "f32"))
    for dtype, linear in product(("i8", "u8", "i16", "u16"), (False, True)):
        found.append((Texture(Geometry.PLANE, plane, 4, linear=linear, float_reads=True), dtype, "f32", "f32"))
    found += [(Texture(g, EXTENTS[g], 2), "f32", "f32", "s32") for g in Geometry]
    return found


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{c[0].geometry.name.lower()}-{c[1]}" for n, c in enumerate(CASES)])
def test_engine_and_interpreter_read_the_same(case: tuple[Texture, str, str, str]) -> None:
    made = bench(*case)
    result, got = made.on_engine()
    assert result.status is ptx.Status.OK, result.trap
    assert np.array_equal(got, made.interpreted())


def test_the_nearest_element_is_the_one_numpy_finds() -> None:
    made = bench(Texture(Geometry.PLANE, (5, 3, 1)), "f32", "f32")
    made.places = np.random.default_rng(1).uniform(-3, 9, (THREADS, 4)).astype(np.float32)
    _, got = made.on_engine()
    x, y = (np.clip(np.floor(made.places[:, n]).astype(int), 0, size - 1) for n, size in ((0, 5), (1, 3)))
    assert np.array_equal(got.view(np.float32)[:, 0], made.elements.reshape(3, 5)[y, x])
    assert not got[:, 1:].any()


def test_between_elements_values_are_blended_in_steps_of_a_256th() -> None:
    made = bench(Texture(Geometry.LINE, (2, 1, 1), linear=True), "f32", "f32")
    made.elements = np.array([0, 256], np.float32)
    made.places = np.zeros((THREADS, 4), np.float32)
    made.places[:, 0] = np.linspace(0.5, 1.5, THREADS)
    _, got = made.on_engine()
    assert np.array_equal(got.view(np.float32)[:, 0], np.rint((made.places[:, 0] - 0.5) * 256))


def test_a_kernel_may_name_different_textures_in_different_lanes() -> None:
    text = kernel_text(Geometry.LINE, "f32", "f32").replace(
        "ld.global.u32 %n0", "and.b32 %n0, %id, 1; cvt.u64.u32 %d, %n0; add.s64 %t, %t, %d; ld.global.u32 %n0"
    )
    out = copied(np.zeros((THREADS, 4), np.float32))
    memory = ptx.Memory([copied(np.array([3], np.float32)), copied(np.array([5], np.float32)), out])
    handles = [memory.texture(n, "f32", Texture(Geometry.LINE, (1, 1, 1))) for n in (0, 1)]
    module = ptx.parse(text)
    compiled = ptx.compile_entry(module, "k", (THREADS, 1, 1))
    values = [handles[0], memory.address(2), memory.address(2)]
    packed = ptx.pack_parameters(compiled.entry, [v.to_bytes(8, "little") for v in values])
    assert compiled.launch(memory, packed, (1, 1, 1), threads=1, abort=ptx.Abort()).status is ptx.Status.OK
    assert np.array_equal(out[:, 0], np.tile([3, 5], THREADS // 2).astype(np.float32))


@pytest.mark.parametrize("handle", [0, 1, 2**62 + 1, 2**64 - 1, 5 << 40])
def test_what_is_no_texture_object_traps(handle: int) -> None:
    made = bench(Texture(Geometry.PLANE, (5, 3, 1)), "f32", "f32")
    memory, parameters = made._memory(copied(np.zeros((THREADS, 4), np.uint32)))
    bad = handle.to_bytes(8, "little") + parameters[8:]
    compiled = ptx.compile_entry(made.module, "k", (THREADS, 1, 1))
    result = compiled.launch(memory, bad, (1, 1, 1), threads=1, abort=ptx.Abort())
    assert result.trap is not None
    assert result.trap.kind is ptx.TrapKind.NO_SUCH_TEXTURE
    launch = CheckedLaunch("k", (1, 1, 1), (THREADS, 1, 1), bad)
    notes = [BufferNote("t", True), BufferNote("x", True), BufferNote("y", False)]
    assert {f.kind for f in check(made.module, memory, notes, [launch]).findings} == {Kind.OUT_OF_BOUNDS}


def test_a_texture_of_another_geometry_traps() -> None:
    made = bench(Texture(Geometry.LINE, (15, 1, 1)), "f32", "f32")
    made.module = ptx.parse(kernel_text(Geometry.PLANE, "f32", "f32"))
    result, _ = made.on_engine()
    assert result.trap is not None
    assert result.trap.kind is ptx.TrapKind.NO_SUCH_TEXTURE


def test_a_texture_that_does_not_fit_its_buffer_is_refused() -> None:
    memory = ptx.Memory([np.zeros(16, np.float32)])
    with pytest.raises(UsageError, match="has 20 elements; its buffer has 16"):
        memory.texture(0, "f32", Texture(Geometry.PLANE, (5, 4, 1)))


def test_canonical_text_of_texture_reads_parses_to_itself() -> None:
    for geometry in Geometry:
        text = ptx.canonicalise(ptx.parse(kernel_text(geometry, "f32", "f32")))
        assert ptx.canonicalise(ptx.parse(text)) == text
        assert f"tex.{NAMES[geometry]}.v4.f32.f32" in text
