"""Whole kernels compiled by NVRTC, against numpy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.running import body_kernel, kernel, launch, run

U32 = np.uint32
rng = np.random.default_rng(7)


@pytest.mark.parametrize("block", [32, 48, 100, 256, 1024])
@pytest.mark.parametrize("count", [1, 31, 1000, 5000])
def test_saxpy_is_bit_equal(block: int, count: int) -> None:
    x, y = rng.random((2, count), np.float32)
    x, y = x.copy(), y.copy()
    expected = np.float32(1.7) * x + y
    run(kernel("saxpy", "saxpy", (block, 1, 1)), (-(-count // block), 1, 1), np.float32(1.7), x, y, np.int32(count))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("block", [(16, 16, 1), (32, 4, 1), (8, 8, 1), (5, 3, 2)])
def test_mandelbrot_diverges_like_numpy(block: tuple[int, int, int]) -> None:
    width, height, limit = 61, 47, 60
    f = np.float32
    out = np.full((height, width), -1, np.int32)
    grid = (-(-width // block[0]), -(-height // block[1]), 1)
    run(
        kernel("mandelbrot", "mandelbrot", block),
        grid,
        out,
        *map(np.int32, (width, height)),
        f(-2),
        f(-1.2),
        f(0.05),
        f(0.05),
        np.int32(limit),
    )
    cx, cy = np.meshgrid(f(-2) + np.arange(width, dtype=f) * f(0.05), f(-1.2) + np.arange(height, dtype=f) * f(0.05))
    x, y, steps, live = np.zeros_like(cx), np.zeros_like(cx), np.zeros(cx.shape, np.int32), np.ones(cx.shape, bool)
    for _ in range(limit):
        live &= ~(x * x + y * y > 4)
        x, y = np.where(live, x * x - y * y + cx, x), np.where(live, f(2) * x * y + cy, y)
        steps += live
    np.testing.assert_array_equal(out, steps)


def _hash(x: np.ndarray) -> np.ndarray:
    s = x * U32(747796405) + U32(2891336453)
    w = ((s >> ((s >> U32(28)) + U32(4))) ^ s) * U32(277803737)
    return (w >> U32(22)) ^ w


def test_montecarlo_counts_the_same_points() -> None:
    count, samples, f = 300, 37, np.float32
    hits = np.zeros(count, np.uint64)
    run(kernel("montecarlo", "montecarlo", (128, 1, 1)), (3, 1, 1), hits, U32(99), np.int32(samples), np.int32(count))
    index = np.arange(count, dtype=U32)[:, None] * U32(65537) + np.arange(samples, dtype=U32)[None, :]
    a = _hash(U32(99) ^ _hash(index))
    x, y = ((v >> U32(8)).astype(f) * f(5.9604645e-8) for v in (a, _hash(a)))
    np.testing.assert_array_equal(hits, (x * x + y * y < f(1)).sum(1).astype(np.uint64))


def test_tiled_matmul_adds_in_the_kernels_order() -> None:
    n = 64
    a, b = rng.random((2, n, n), np.float32)
    a, b, c = a.copy(), b.copy(), np.zeros((n, n), np.float32)
    run(kernel("blockwise", "matmul", (16, 16, 1)), (n // 16, n // 16, 1), a, b, c, np.int32(n))
    expected = np.zeros_like(c)
    for k in range(n):
        expected += a[:, k : k + 1] * b[k : k + 1, :]
    np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("block", [32, 128, 160])
def test_scan_with_shuffles_and_dynamic_shared_memory(block: int) -> None:
    count = 500
    values, out = rng.integers(-99, 99, count, np.int32), np.zeros(count, np.int32)
    grid = -(-count // block)
    run(
        kernel("blockwise", "scan", (block, 1, 1)), (grid, 1, 1), values, out, np.int32(count), shared=4 * (block // 32)
    )
    padded = np.zeros(grid * block, np.int32)
    padded[:count] = values
    np.testing.assert_array_equal(out, np.cumsum(padded.reshape(grid, block), 1, dtype=np.int32).ravel()[:count])


@pytest.mark.parametrize("block", [16, 33, 64, 250])
def test_barrier_makes_stores_of_other_warps_visible(block: int) -> None:
    data = np.arange(3 * block, dtype=np.int32)
    expected = data.reshape(3, block)[:, ::-1].ravel().copy()
    run(kernel("blockwise", "reverse", (block, 1, 1)), (3, 1, 1), data, np.int32(len(data)), shared=4 * block)
    np.testing.assert_array_equal(data, expected)


def test_votes_shuffles_matches_and_barrier_reductions() -> None:
    block = 96
    values = rng.integers(-100, 100, block, np.int32)
    out = np.zeros((8, block), np.int32)
    run(kernel("blockwise", "votes", (block, 1, 1)), (1, 1, 1), values, out)
    warps = values.reshape(-1, 32)
    lanes = np.arange(32)
    bits = (np.uint64(1) << lanes.astype(np.uint64))[None, :]
    ballot = ((warps > 0) * bits).sum(1, dtype=np.uint64).astype(np.uint32).view(np.int32)
    np.testing.assert_array_equal(out[0], ballot.repeat(32))
    np.testing.assert_array_equal(out[1], ((warps > 90).any(1) + 2 * (warps > -200).all(1)).repeat(32))
    assert set(out[2]) == {(values > 0).sum()}
    assert set(out[3]) == {int((values > 98).any()) + 2}
    take = np.take_along_axis
    np.testing.assert_array_equal(out[4].reshape(-1, 32), take(warps, (lanes & 24) | ((warps & 31) & 7), 1))
    np.testing.assert_array_equal(out[5].reshape(-1, 32), warps[:, lanes ^ 5])
    source = lanes + (warps & 7)
    np.testing.assert_array_equal(
        out[6].reshape(-1, 32), take(warps, np.where(source <= (lanes | 15), source, lanes), 1)
    )
    same = (warps[:, :, None] & 3) == (warps[:, None, :] & 3)
    match = (same * bits[None]).sum(2, dtype=np.uint64).astype(np.uint32).view(np.int32)
    np.testing.assert_array_equal(out[7].reshape(-1, 32), match)


def _collatz(x: int) -> int:
    steps = 0
    while x != 1:
        x = (3 * x + 1) % 2**32 if x & 1 else x >> 1
        steps += 1
        if steps > 500:
            break
    return steps


def test_collatz_loops_per_lane() -> None:
    values = rng.integers(1, 2**20, 200, np.uint32)
    out = np.zeros(200, np.int32)
    run(kernel("control", "collatz", (64, 1, 1)), (4, 1, 1), values, out, np.int32(200))
    assert out.tolist() == [_collatz(int(v)) for v in values]


def _nested(i: int, value: int, rows: int) -> int:
    total = 0
    for r in range(rows):
        if value % (r + 2) == 0:
            continue
        for k in range(value % 7):
            if k * r > value:
                break
            total += k * r
            case = (total + k) % 5
            if case == 0:
                total += 3
            elif case == 1:
                total ^= r
            elif case == 2:
                total -= k
            else:
                total += i
        if total > 100000:
            return 0
    return total


def test_nested_loops_with_continue_break_switch_and_return() -> None:
    values = rng.integers(0, 1000, 256, np.int32)
    out = np.zeros(256, np.int32)
    run(kernel("control", "nested", (64, 1, 1)), (4, 1, 1), values, out, np.int32(40))
    assert out.tolist() == [_nested(i, int(v), 40) for i, v in enumerate(values)]


@pytest.mark.parametrize("block", [(7, 3, 2), (32, 2, 2), (16, 2, 1), (1, 5, 3), (64, 1, 2)])
def test_three_dimensional_indices(block: tuple[int, int, int]) -> None:
    grid = (3, 2, 2)
    out = np.full((*grid[::-1], *block[::-1]), -1, np.int32)
    run(kernel("control", "indices", block), grid, out)
    z, y, x, tz, ty, tx = np.indices(out.shape)
    np.testing.assert_array_equal(out, tx + 10 * ty + 100 * tz + 1000 * x + 10000 * y + 100000 * z)


def test_index_that_wraps_between_lanes_is_not_taken_for_a_range() -> None:
    """Lane 0 computes 0 - 1 as unsigned: an affine index with a jump inside the warp."""
    values, out = rng.random((2, 40), np.float32)
    values, out = values.copy(), np.zeros(40, np.float32)
    run(kernel("control", "shifted", (32, 1, 1)), (1, 1, 1), values, out, U32(40))
    np.testing.assert_array_equal(out[:31], values[:31] + np.float32(1))
    assert not out[31:].any()


def test_locals_keep_a_stack_per_thread() -> None:
    values, out = rng.integers(0, 30, 64, np.int32), np.zeros(64, np.int32)
    run(kernel("spaces", "locals", (64, 1, 1)), (1, 1, 1), values, out)
    expected = [v * (v % 24) + sum(v * ((k * 7 + t) % 24) for k in range(v)) for t, v in enumerate(map(int, values))]
    assert out.tolist() == expected


def test_generic_pointers_reach_global_shared_and_local_memory() -> None:
    data = np.arange(40, dtype=np.int32)
    run(kernel("spaces", "generic", (32, 1, 1)), (1, 1, 1), data, np.int32(5))
    assert data[1] > 1
    assert data[4] == 3 + 5
    assert data[2] == 11 + 5


def test_struct_parameters_are_aligned_bytes() -> None:
    out = np.zeros(32)
    pair = np.zeros(1, np.dtype([("scale", "f4"), ("shift", "f8"), ("tag", "i2")], align=True))
    pair["scale"], pair["shift"], pair["tag"] = 1.5, 2.25, -3
    run(kernel("spaces", "structs", (32, 1, 1)), (1, 1, 1), pair.tobytes(), out)
    np.testing.assert_array_equal(out, np.float32(1.5) * np.arange(32, dtype=np.float32) + 2.25 - 3)


@pytest.mark.parametrize("block", [32, 48])
def test_vector_loads_and_stores(block: int) -> None:
    values, out = rng.random((block, 4), np.float32), np.zeros((block, 2), np.float32)
    run(kernel("spaces", "vectors", (block, 1, 1)), (1, 1, 1), values, out)
    np.testing.assert_array_equal(out, np.stack([values[:, 0] + values[:, 3], values[:, 1] * values[:, 2]], 1))


def test_histogram_with_shared_and_global_atomics() -> None:
    values, bins = rng.integers(0, 256, 20_000, np.uint8), np.zeros(256, np.uint32)
    run(kernel("spaces", "histogram", (128, 1, 1)), (7, 1, 1), values, bins, np.int32(len(values)))
    np.testing.assert_array_equal(bins, np.bincount(values, minlength=256))


def test_results_do_not_depend_on_the_number_of_host_threads() -> None:
    x, y = rng.random((2, 4000), np.float32)
    results = []
    for threads in (1, 3, 16):
        mine = y.copy()
        run(
            kernel("saxpy", "saxpy", (64, 1, 1)),
            (63, 1, 1),
            np.float32(0.3),
            x.copy(),
            mine,
            np.int32(4000),
            threads=threads,
        )
        results.append(mine)
    assert all(np.array_equal(results[0], other) for other in results)


def test_exact_library_functions() -> None:
    values = (rng.random(64, np.float32) * 50).astype(np.float32)
    out, wide = np.zeros(64, np.float32), np.zeros(64)
    run(kernel("math", "exact", (64, 1, 1)), (1, 1, 1), values, out, wide)
    f = np.float32
    fused = (values.astype(np.float64) * 3 + 1).astype(f)
    np.testing.assert_array_equal(out, np.sqrt(values) / (values + f(1)) + np.floor(values) + fused + f(0))
    np.testing.assert_array_equal(wide, np.sqrt(values.astype(np.float64)) / 3 + np.rint(values.astype(np.float64)))


def test_payload_of_a_loaded_nan_is_stored_as_it_was() -> None:
    values = np.array([0x7F800001, 0xFFC12345, 0x7FFFFFFF] * 11, np.uint32)
    out = np.zeros(32, np.uint32)
    body = """mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; ld.global.f32 %v, [%a]; mov.f32 %w, %v;
    add.s64 %a, %in1, %o; st.global.f32 [%a], %w;"""
    run(body_kernel(body, 2, ".reg .b64 %a, %o; .reg .f32 %v, %w;"), (1, 1, 1), values, out)
    np.testing.assert_array_equal(out, values[:32])


@pytest.mark.parametrize("guard", ["", "@%p "])
def test_indexed_branch_goes_to_each_target(guard: str) -> None:
    body = f"""and.b32 %i, %t, 3; setp.lt.u32 %p, %t, 20; mov.u32 %v, 9;
$targets: .branchtargets $a, $b, $c, $a;
    {guard}brx.idx %i, $targets;
    add.u32 %v, %v, 100; bra $end;
$a: add.u32 %v, %v, 1;
$b: add.u32 %v, %v, 2; bra $end;
$c: add.u32 %v, %v, 4;
$end: mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0; st.global.u32 [%o], %v;"""
    out = np.zeros(32, np.uint32)
    run(body_kernel(body, 1, ".reg .pred %p; .reg .b32 %i, %v; .reg .b64 %o;"), (1, 1, 1), out)
    assert out.tolist() == [(12, 11, 13, 12)[t % 4] if t < 20 or not guard else 109 for t in range(32)]


def test_index_beyond_the_targets_is_a_trap() -> None:
    body = "$targets: .branchtargets $end;\nbrx.idx %t, $targets;\n$end:"
    trap = launch(body_kernel(body, 1, ""), (1, 1, 1), np.zeros(4, np.uint8)).trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.TRAP_INSTRUCTION, (1, 0, 0))
