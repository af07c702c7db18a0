"""Blocks of a provider's result, recomputed: honest ones are clean, and what is wrong is found where it is."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio
import trio.testing

import kernels_cu
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.sampling.task import eligible_fault, map_fault, sampled
from p2pcompute.node import inspection, states
from p2pcompute.node.api import LocalNode
from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.ownership import Ownerships
from p2pcompute.node.ports import SystemClock
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.machine import Finding, Grant, Inspect, Point, RunJob
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Argument, Launch, Manifest, Role, encode_manifest
from p2pcompute.wire.steps import step_count
from tests.node.inspecting import ENGINE_BYTES, Input, open_bench, scalar, task
from tests.node.market import open_market

PIPELINE = """
struct Shape { int n; float scale; };
#define I (blockIdx.x * blockDim.x + threadIdx.x)
extern "C" __global__ void spread(Shape s, const float* in, float* out, const float* none) {
    extern __shared__ float tile[];
    int i = I;
    tile[threadIdx.x] = i < s.n ? in[i] : 0.0f;
    __syncthreads();
    float sum = tile[threadIdx.x] + tile[(threadIdx.x + 1) % blockDim.x];
    if (none) sum += 1.0f;
    if (i < s.n) out[i] = sum * s.scale;
}
extern "C" __global__ void gather(int n, const int* index, const float* from, float* to) {
    int i = I;
    if (i < n) to[i] = from[index[i]] + 1.0f;
}
extern "C" __global__ void grow(int n, const float* by, float* y) {
    int i = I;
    if (i < n) y[i] = y[i] * 0.5f + by[i];
}
"""
COUNT = 20_000
BLOCK = 64
BLOCKS = COUNT // BLOCK + 1
NULL = Argument(value=bytes(8))


def of(*names: str) -> tuple[Argument, ...]:
    return tuple(Argument(buffer=name) for name in names)


def launch(entry: str, *arguments: Argument, shared: int = 0, repeats: int = 1, blocks: int = BLOCKS) -> Launch:
    return Launch(entry, (blocks, 1, 1), (BLOCK, 1, 1), arguments, shared, repeats)


async def pipeline() -> tuple[Manifest, list[bytes]]:
    """Five steps: spread, gather, and grow three times. The last block writes less than its threads."""
    rng = np.random.default_rng(3)
    shape = np.int32(COUNT).tobytes() + np.float32(0.75).tobytes()
    buffers = {
        "x": Input(Role.IN, rng.uniform(-1, 1, COUNT).astype(np.float32)),
        "a": Input(Role.TEMP, count=COUNT + 100),
        "index": Input(Role.IN, rng.permutation(COUNT).astype(np.int32)),
        "b": Input(Role.OUT, count=COUNT),
        "y": Input(Role.INOUT, rng.uniform(-1, 1, COUNT).astype(np.float32)),
    }
    return await task(PIPELINE, buffers, [
        launch("spread", scalar(shape), *of("x", "a"), NULL, shared=4 * BLOCK),
        launch("gather", scalar(COUNT), *of("index", "a", "b")),
        launch("grow", scalar(COUNT), *of("b", "y"), repeats=3),
    ])  # fmt: skip


async def test_an_honest_pipeline_is_clean_at_every_step(tmp_path: Path) -> None:
    made = await pipeline()
    assert eligible_fault(made[0], made[1][0]) == ""
    stored = sampled(made[0], made[1][0]).stored
    assert stored == ((1,), (3,), (4,))
    async with open_bench(tmp_path, made) as bench:
        for step, name in enumerate(("a", "b", "y", "y", "y")):
            found = await bench.inspect(*((step, name, byte) for byte in range(17, 4 * COUNT, 4 * BLOCK * 40)))
            assert (found.finding, found.reason, found.blocks) == (Finding.CLEAN, "", 8)
            assert found.leaves > 0
            assert found.device_us > 0
        found = await bench.inspect(*bench.draw(np.random.default_rng(1), 44, stored))
        assert (found.finding, found.reason) == (Finding.CLEAN, "")
        assert 30 <= found.blocks <= 44


async def test_inputs_too_large_to_lay_down_are_read_leaf_by_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "LOCAL_BYTES", 0)
    async with open_bench(tmp_path, await pipeline()) as bench:
        for point in ((0, "a", 4 * COUNT - 1), (1, "b", 0), (2, "y", 0)):
            assert (await bench.inspect(point)).finding is Finding.CLEAN
        bench.tamper(2, "y", lambda data: data.__setitem__(0, data[0] ^ 1))
        assert (await bench.inspect((2, "y", 0))).finding is Finding.WRONG


async def test_a_single_changed_byte_is_named_and_found_by_its_block_alone(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        byte = 4 * (7 * BLOCK + 5) + 2

        def bend(data: bytearray) -> None:
            data[byte] ^= 1

        bench.tamper(1, "b", bend)
        found = await bench.inspect((1, "b", 4 * 9 * BLOCK), (1, "b", 0))
        assert (found.finding, found.blocks) == (Finding.CLEAN, 2)
        found = await bench.inspect((1, "b", 4 * 7 * BLOCK), (1, "b", 0))
        assert (found.finding, found.blocks) == (Finding.WRONG, 2)
        assert (found.step, found.block, found.buffer, found.byte) == (1, 7, bench.place("b"), byte)
        assert "block 7" in found.reason
        found = await bench.inspect((2, "y", 0), (3, "y", 4 * COUNT - 1))
        assert found.finding is Finding.CLEAN or found.step == 2  # where the next step read the byte that was bent


async def test_the_last_step_of_a_result_is_looked_at_too(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.tamper(4, "y", lambda data: data.__setitem__(slice(0, 4 * BLOCK), bytes(4 * BLOCK)))
        found = await bench.inspect((4, "y", 4 * BLOCK - 1))
        assert (found.finding, found.step, found.block, found.byte) == (Finding.WRONG, 4, 0, 0)
        found = await bench.inspect((4, "y", 4 * BLOCK))
        assert found.finding is Finding.CLEAN


async def test_what_no_block_writes_must_stay(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        beyond = 4 * COUNT + 8
        for step, name, byte in ((0, "a", beyond), (3, "a", beyond), (2, "b", 5)):
            assert (await bench.inspect((step, name, byte))).finding is Finding.CLEAN

            def bend(data: bytearray, byte: int = byte) -> None:
                data[byte] = 9

            honest = bench.root(step, name)
            bench.tamper(step, name, bend)
            found = await bench.inspect((step, name, byte))
            assert (found.finding, found.step, found.block, found.byte) == (Finding.WRONG, step, -1, byte)
            bench.state(step, name, honest)


async def test_a_wrong_early_launch_is_found_at_its_step_and_nowhere_else(tmp_path: Path) -> None:
    """The liar goes on honestly from its lie: every later block is right, given the state before."""
    made = await pipeline()
    y, index = (np.frombuffer(made[1][n], kind) for n, kind in ((3, np.float32), (2, np.int32)))
    async with open_bench(tmp_path, made) as bench:
        a = np.frombuffer(bench.theirs.read(bench.root(0, "a")), np.float32).copy()
        a[: 3 * BLOCK] = 0.5
        lie = {"a": a, "b": a[:COUNT][index] + np.float32(1), "y": y}
        for step in range(step_count(made[0])):
            if step >= 2:
                lie["y"] = lie["y"] * np.float32(0.5) + lie["b"]
            for name in ("a", "b", "y") if step else ("a",):
                bench.state(step, name, bench.theirs.put(lie[name].tobytes(), "lie")[0])
        later = [
            (step, name, byte) for step, name in ((1, "b"), (2, "y"), (4, "y")) for byte in range(0, 4 * COUNT, 9000)
        ]
        assert (await bench.inspect(*later)).finding is Finding.CLEAN
        assert (await bench.inspect((0, "a", 4 * 3 * BLOCK))).finding is Finding.CLEAN
        found = await bench.inspect(*later, (0, "a", 4 * 2 * BLOCK))
        assert (found.finding, found.step, found.block) == (Finding.WRONG, 0, 2)


@pytest.mark.parametrize("wrong", [range(1), range(BLOCKS), range(0, BLOCKS, 10)], ids=["one", "all", "a tenth"])
async def test_inspecting_every_block_finds_any_number_of_wrong_ones(tmp_path: Path, wrong: range) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:

        def bend(data: bytearray) -> None:
            for block in wrong:
                data[4 * block * BLOCK] ^= 0x80

        bench.tamper(1, "b", bend)
        found = await bench.inspect_all(1, ["b"], 4 * BLOCK)
        assert (found.finding, found.block) == (Finding.WRONG, wrong[0])


async def test_a_state_that_the_provider_does_not_have_is_unavailable(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        point = (1, "b", 0)
        bench.state(1, "b", bytes(range(32)))
        found = await bench.inspect(point)
        assert (found.finding, found.blocks) == (Finding.UNAVAILABLE, 1)
        bench.state(1, "b", bench.theirs.put(b"of another size", "lie")[0])
        assert (await bench.inspect(point)).finding is Finding.UNAVAILABLE


async def test_more_pieces_than_were_granted_are_unavailable(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.leaves_max = 3
        found = await bench.inspect((4, "y", 0))
        assert (found.finding, found.leaves) == (Finding.CLEAN, 3)
        assert (await bench.inspect((4, "y", 0))).finding is Finding.UNAVAILABLE


async def test_what_the_requester_has_itself_is_not_asked_for(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.mine.put(bench.theirs.read(bench.root(1, "b")), "known")
        found = await bench.inspect((2, "y", 0))
        assert (found.finding, found.leaves) == (Finding.CLEAN, 1)  # of y afterwards


async def test_a_provider_that_goes_silent_is_unavailable(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        silence = trio.Event()

        async def open_stream_to(peer: bytes, addresses: tuple[str, ...], protocol: str) -> Stream:
            silence.set()
            await trio.sleep_forever()
            raise AssertionError

        bench.open_stream_to = open_stream_to  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_late, silence, mock_clock)
            found = await bench.inspect((1, "b", 0))
        assert (found.finding, found.reason) == (Finding.UNAVAILABLE, "the provider's pieces took too long")


async def _late(silence: trio.Event, clock: trio.testing.MockClock) -> None:
    await silence.wait()
    clock.jump(61)


async def test_our_own_broken_disk_makes_nobody_wrong(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        root = bench.manifest.buffers[bench.place("x")].root
        with (tmp_path / "mine" / root.hex()[:2] / root.hex()).open("r+b") as file:
            file.write(bytes(4 * BLOCK))
        found = await bench.inspect((0, "a", 0))
        assert found.finding is Finding.UNPROVEN
        assert "damaged" in found.reason


FAULTY = """
#define I (blockIdx.x * blockDim.x + threadIdx.x)
extern "C" __global__ void race(int* out) {
    __shared__ int cells[64];
    cells[threadIdx.x] = threadIdx.x;
    out[I] = cells[(threadIdx.x + 1) % 64];
}
extern "C" __global__ void far(const int* by, int* out) { out[I] = by[I]; }
extern "C" __global__ void chase(const int* next, int* out) {
    int n = I, steps = 0;
    while (n != 1) { n = next[n] - 7; steps++; }
    out[I] = steps;
}
extern "C" __global__ void copy(const int* from, int* to) { to[I] = from[I] + 7; }
extern "C" __global__ void meet(int* out) { out[threadIdx.x] = I; }
extern "C" __global__ void masked(const float* a, float* to) { to[I & 1023] = a[threadIdx.x]; }
extern "C" __global__ void unordered(float* out) {
    __shared__ float sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    atomicAdd(&sum, 0.1f);
    __syncthreads();
    out[I] = sum;
}
extern "C" __global__ void chosen(float* out) { if (out[I] == 0) out[I] = 1; }
"""


@pytest.fixture
async def engine() -> AsyncIterator[CpuEngine]:
    engine = CpuEngine(threads=1, memory_bytes_max=ENGINE_BYTES)
    yield engine
    await engine.aclose()


def ints(count: int, role: Role = Role.OUT) -> Input:
    return Input(role, dtype="i32", count=count)


async def test_a_block_that_races_is_the_kernels_fault(tmp_path: Path) -> None:
    made = await task(FAULTY, {"out": ints(4 * BLOCK)}, [launch("race", *of("out"), blocks=4)])
    async with open_bench(tmp_path, made) as bench:
        assert (await bench.inspect((0, "out", 0))).finding is Finding.CLEAN
        bench.tamper(0, "out", lambda data: data.__setitem__(4 * BLOCK, 99))
        found = await bench.inspect((0, "out", 4 * BLOCK))
        assert (found.finding, found.step, found.block) == (Finding.AT_FAULT, 0, 1)
        assert "race" in found.reason


async def test_a_block_that_traps_is_the_kernels_fault(tmp_path: Path) -> None:
    by = Input(Role.IN, np.zeros(BLOCK + 8, np.int32))
    made = await task(FAULTY, {"by": by, "out": ints(2 * BLOCK)}, [launch("far", *of("by", "out"), blocks=1)])
    async with open_bench(tmp_path, made) as bench:
        longer = launch("far", *of("by", "out"), blocks=2)
        bench.manifest = msgspec.structs.replace(bench.manifest, launches=(longer,))
        found = await bench.inspect((0, "out", 0), (0, "out", 4 * BLOCK))
        assert (found.finding, found.block, found.blocks) == (Finding.AT_FAULT, 1, 0)
        assert "block (1, 0, 0)" in found.reason


async def test_loads_that_depend_on_what_was_loaded_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a state of zeros this kernel never ends."""
    monkeypatch.setattr(inspection, "ROUND_MS", 50)
    count = 12 * 1024
    ring = np.full(count, 1, np.int32)
    ring[0], ring[1024], ring[2048] = 1024, 2048, 5000
    buffers = {"from": Input(Role.IN, ring), "next": ints(count, Role.TEMP), "out": ints(BLOCK)}
    steps = [launch("copy", *of("from", "next"), blocks=count // BLOCK), launch("chase", *of("next", "out"), blocks=1)]
    async with open_bench(tmp_path, await task(FAULTY, buffers, steps)) as bench:
        found = await bench.inspect((1, "out", 0))
        assert (found.finding, found.reason, found.leaves) == (Finding.CLEAN, "", 5)
        monkeypatch.setattr(inspection, "ROUNDS_MAX", 3)
        found = await bench.inspect((1, "out", 0))
        assert found.finding is Finding.UNPROVEN
        assert "depends on what they loaded" in found.reason


async def test_a_launch_of_tier_map_is_inspected_when_its_map_is_clean(tmp_path: Path, engine: CpuEngine) -> None:
    buffers = {"a": Input(Role.IN, np.ones(BLOCK, np.float32)), "to": Input(Role.OUT, count=1024)}
    made = await task(FAULTY, buffers, [launch("masked", *of("a", "to"), blocks=1024 // BLOCK)])
    judged = sampled(made[0], made[1][0])
    assert (judged.fault, judged.unproven) == ("", (0,))
    assert await map_fault(engine, made[0], made[1][0], judged.unproven) == ""
    async with open_bench(tmp_path, made) as bench:
        found = await bench.inspect(*((0, "to", byte) for byte in range(0, 4096, 256)))
        assert (found.finding, found.reason) == (Finding.CLEAN, "")


@pytest.mark.parametrize(("entry", "rule"), [("unordered", "rule 10"), ("chosen", "rule 11")])
async def test_what_cannot_be_sampled_is_said_before_and_after(tmp_path: Path, entry: str, rule: str) -> None:
    made = await task(FAULTY, {"out": Input(Role.OUT, count=4 * BLOCK)}, [launch(entry, *of("out"), blocks=4)])
    assert rule in eligible_fault(made[0], made[1][0])
    async with open_bench(tmp_path, made) as bench:
        found = await bench.inspect((0, "out", 0))
        assert (found.finding, found.blocks) == (Finding.UNPROVEN, 0)
        assert rule in found.reason


async def test_blocks_that_meet_are_seen_in_the_map(tmp_path: Path, engine: CpuEngine) -> None:
    made = await task(FAULTY, {"out": ints(4 * BLOCK)}, [launch("meet", *of("out"), blocks=4)])
    judged = sampled(made[0], made[1][0])
    assert (judged.fault, judged.unproven) == ("", (0,))
    assert "rule 9" in await map_fault(engine, made[0], made[1][0], judged.unproven)
    async with open_bench(tmp_path, made) as bench:
        found = await bench.inspect((0, "out", 0))
        assert (found.finding, "rule 9" in found.reason) == (Finding.UNPROVEN, True)


async def test_a_task_with_too_many_steps_cannot_be_sampled() -> None:
    steps = limits.SNAPSHOT_STEPS_MAX + 1
    made = await task(FAULTY, {"out": ints(BLOCK)}, [launch("meet", *of("out"), blocks=1, repeats=steps)])
    assert "65 steps" in eligible_fault(made[0], made[1][0])


async def test_what_is_no_state_or_place_of_the_task_is_unproven(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        for point in ((5, "y", 0), (-1, "y", 0), (0, "x", 0), (0, "y", 4 * COUNT), (0, "y", -1)):
            assert (await bench.inspect(point)).finding is Finding.UNPROVEN
        bench.states.pop()
        found = await bench.inspect((0, "a", 0))
        assert (found.finding, "no states of 5 steps" in found.reason) == (Finding.UNPROVEN, True)


async def test_a_node_without_an_engine_says_so(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.requester = Workshop(bench.mine, Engines([]), BLOB_BYTES_PER_S)
        found = await bench.inspect((0, "a", 0))
        assert (found.finding, found.reason) == (Finding.UNPROVEN, "this node has no engine")


async def test_an_input_that_is_not_here_is_unproven(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.mine.delete(bench.manifest.buffers[bench.place("x")].root)
        found = await bench.inspect((0, "a", 0))
        assert (found.finding, "input" in found.reason) == (Finding.UNPROVEN, True)


@pytest.mark.parametrize("name", kernels_cu.names())
async def test_honest_kernels_of_the_library_are_clean(tmp_path: Path, name: str) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(1)
    arguments = tuple(
        Argument(value=work.scalars[p.name].tobytes()) if p.role == "scalar" else Argument(buffer=p.name)
        for p in spec.parameters
    )
    roles = {"in": Role.IN, "out": Role.OUT, "inout": Role.INOUT}
    buffers = {
        p.name: Input(roles[p.role], work.inputs[p.name])
        if p.role != "out"
        else Input(Role.OUT, dtype=p.dtype, count=int(np.prod(work.outputs[p.name][1])))
        for p in spec.parameters
        if p.role != "scalar"
    }
    step = Launch(spec.entry, work.grid, work.block, arguments, work.shared_bytes)
    made = await task(spec.source, buffers, [step])
    judged = sampled(made[0], made[1][0])
    assert judged.fault == ""
    async with open_bench(tmp_path, made) as bench:
        rng = np.random.default_rng(11)
        found = await bench.inspect(*bench.draw(rng, 60, judged.stored))
        assert (found.finding, found.reason) == (Finding.CLEAN, "")
        assert found.blocks > 0


def _fake(blocks: list[int], data: bytearray) -> None:
    for block in blocks:
        data[4 * block * BLOCK] ^= 1


async def test_a_tenth_of_wrong_blocks_is_missed_as_rarely_as_chance_says(tmp_path: Path) -> None:
    """Which blocks 44 drawn bytes lead to is what the node's own map says; each seed fakes other blocks."""
    async with open_bench(tmp_path, await pipeline()) as bench:
        pool = CpuEngine(threads=1, memory_bytes_max=ENGINE_BYTES)
        owned = await Ownerships().of(pool, bench.manifest, bench.mine.read(bench.manifest.ptx_root), 1)
        await pool.aclose()
        stored, seeds, missed = ((), (3,), ()), 4_000, 0
        rng = np.random.default_rng(5)
        fakes = BLOCKS // 10
        for _ in range(seeds):
            faked = set(rng.choice(BLOCKS, fakes, replace=False).tolist())
            drawn = {owned.writer(name, byte) for step, name, byte in bench.draw(rng, 44, stored) if step == 1}
            missed += not drawn & faked
        chance = (1 - fakes / BLOCKS) ** 44
        deviation = (chance * (1 - chance) / seeds) ** 0.5
        assert abs(missed / seeds - chance) < 4 * deviation
        assert missed / seeds < 0.02
        for seed in range(3):
            blocks = np.random.default_rng(seed).choice(BLOCKS, fakes, replace=False)
            honest = bench.root(1, "b")
            bench.tamper(1, "b", functools.partial(_fake, blocks.tolist()))
            found = await bench.inspect(*bench.draw(np.random.default_rng(seed), 44, stored))
            assert (found.finding, found.block in blocks.tolist()) == (Finding.WRONG, True)
            bench.state(1, "b", honest)


async def test_a_node_inspects_another_over_the_network(tmp_path: Path) -> None:
    manifest, blobs = await pipeline()
    async with open_market(tmp_path, [None]) as (client, (provider,)):
        assert isinstance(client.node, LocalNode)
        mine, theirs = client.node.peer, provider
        for blob in blobs:
            mine.blobs.put(blob, "task")
            theirs.blobs.put(blob, "task")
        job = RunJob("job", encode_manifest(manifest), snapshots=True)
        outcome = await theirs.runtime._work.run(job)
        roots = tuple(root for state in outcome.states for root in state)
        until_ms = SystemClock().now().wall_ms + 60_000
        theirs.runtime._work.grant(Grant("inspect", mine.keyring.node.public, roots, until_ms, leaves_max=500))
        points = tuple(
            Point(step, buffer, byte) for step, buffer in ((0, 1), (1, 3), (4, 4)) for byte in range(0, 80_000, 9_001)
        )
        effect = Inspect(
            "i", theirs.keyring.node.public, job.manifest, outcome.states, points, 44, 60_000, theirs.addresses()
        )
        found = await mine.runtime._work.inspect(effect, mine.runtime)
        assert (found.finding, found.reason, found.blocks) == (Finding.CLEAN, "", 27)
        wrong = (*outcome.states[:4], (outcome.states[4][0], outcome.states[4][1], outcome.states[3][2]))
        found = await mine.runtime._work.inspect(msgspec.structs.replace(effect, states=wrong), mine.runtime)
        assert (found.finding, found.step) == (Finding.WRONG, 4)


async def test_the_first_different_blocks_of_the_draw_count(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.tamper(1, "b", lambda data: data.__setitem__(4 * 9 * BLOCK, 77))
        drawn = [(1, "b", 4 * block * BLOCK + 5) for block in (3, 3, 4, 3, 9)]
        found = await bench.inspect(*drawn, blocks=2)
        assert (found.finding, found.blocks) == (Finding.CLEAN, 2)
        found = await bench.inspect(*drawn, blocks=3)
        assert (found.finding, found.block) == (Finding.WRONG, 9)


async def test_more_leaves_than_a_provider_gives_are_not_asked_for(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        found = await bench.inspect((4, "y", 0), leaves_max=2)
        assert (found.finding, found.leaves) == (Finding.UNPROVEN, 2)
        assert "more than 2 leaves" in found.reason


async def test_bytes_that_no_block_writes_are_asked_for_together(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        opened = bench.opened
        found = await bench.inspect(*((1, "y", byte) for byte in range(0, 4 * COUNT, 99)))
        assert (found.finding, found.blocks, found.leaves) == (Finding.CLEAN, 0, 0)  # the same root before and after
        found = await bench.inspect(*((2, "b", byte) for byte in range(0, 4 * COUNT, 99)))
        assert (found.finding, found.leaves, bench.opened) == (Finding.CLEAN, 0, opened)
        bench.tamper(2, "b", lambda data: data.__setitem__(4 * COUNT - 1, 99))
        found = await bench.inspect(*((2, "b", byte) for byte in range(3, 4 * COUNT, 4)))
        assert (found.finding, found.byte, bench.opened - opened) == (Finding.WRONG, 4 * COUNT - 1, 2)


async def test_another_try_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    async with open_bench(tmp_path, await pipeline()) as bench:
        bench.leaves_max = 2
        found = await bench.inspect((4, "y", 0))
        assert (found.finding, found.leaves) == (Finding.UNAVAILABLE, 2)
        bench.leaves_max = 3
        found = await bench.inspect((4, "y", 0))
        assert (found.finding, found.leaves) == (Finding.CLEAN, 3)
