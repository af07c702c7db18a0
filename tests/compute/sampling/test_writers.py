"""The writer map, and the slices it runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.sampling import KernelLaunch, writers
from p2pcompute.compute.sampling.writers import Mapper, WriterMap, writer_map
from p2pcompute.errors import UsageError
from tests.bench import ptx_cases
from tests.compute.sampling.conftest import alone
from tests.compute.sampling.test_enumeration import verdict
from tests.compute.sampling.truth import Index, setup

LINE: tuple[Index, Index] = ((4, 1, 1), (32, 1, 1))


def mapped(kernels: ptx.Module, name: str, n: int = 100, m: int = 24, words: int = 4096) -> WriterMap:
    module = alone(kernels, name)
    arrays = [np.zeros(words, np.float32) for _ in range(2)]
    case = setup(module, name, *LINE, [*arrays, np.int32(n), np.int32(m)])
    return writer_map(module, case.launch, case.sizes, threads=2, abort=ptx.Abort())


def test_bytes_that_no_block_writes_are_known(kernels: ptx.Module) -> None:
    found = mapped(kernels, "flat_guarded")
    assert found.is_proof
    assert found.unwritten("b0").tolist() == [[400, 16384]]
    assert [found.writer("b0", byte) for byte in (0, 131, 396, 399, 400)] == [0, 1, 3, 3, None]


def test_an_unchecked_map_names_writers_and_proves_nothing(kernels: ptx.Module) -> None:
    module = alone(kernels, "flat")
    case = setup(
        module, "flat", *LINE, [np.zeros(128, np.float32), np.zeros(128, np.float32), np.int32(9), np.int32(9)]
    )
    found = Mapper(module, case.launch).run(case.launch, case.sizes, threads=1, abort=ptx.Abort(), is_proven=True)
    assert found.words["b0"].tolist() == [1 + n // 32 for n in range(128)]
    assert not found.is_proof


def test_a_conflict_names_its_line(kernels: ptx.Module) -> None:
    found = mapped(kernels, "neighbour_in_place")
    text = ptx.canonicalise(alone(kernels, "neighbour_in_place")).splitlines()
    assert not found.is_proof
    assert {text[line - 1].split()[0] for line in found.conflicts} <= {"ld.global.f32", "st.global.f32"}


def test_a_store_beyond_its_buffer_traps_in_the_slice_too(kernels: ptx.Module) -> None:
    found = mapped(kernels, "flat", words=100)
    assert found.result.status is ptx.Status.TRAP
    assert not found.is_proof


def test_a_slice_drops_loops_that_no_address_needs(kernels: ptx.Module) -> None:
    module = alone(kernels, "heavy_arithmetic")
    case = setup(module, "heavy_arithmetic", *LINE, [np.zeros(8), np.zeros(8), np.int32(9), np.int32(9)])
    text = ptx.canonicalise(Mapper(module, case.launch).slice.module)
    assert "mul.rn.f32" not in text
    assert "f32" in ptx.canonicalise(module)


def test_addresses_that_data_decides_have_no_slice(kernels: ptx.Module) -> None:
    with pytest.raises(UsageError, match=r"line \d+: an address or a guard depends on the result of 'ld.global"):
        mapped(kernels, "index_from_memory")


def test_pointers_to_unknown_buffers_have_no_slice(kernels: ptx.Module) -> None:
    with pytest.raises(UsageError, match="the buffer is not known"):
        mapped(kernels, "either_buffer_by_thread")


def test_grids_with_more_blocks_than_words_can_name_are_refused(kernels: ptx.Module) -> None:
    module = alone(kernels, "flat")
    case = setup(module, "flat", (1, 1, 1), (32, 1, 1), [np.zeros(8), np.zeros(8), np.int32(9), np.int32(9)])
    mapper, launch = Mapper(module, case.launch), case.launch
    huge = KernelLaunch("flat", (2**31 - 1, 3, 1), launch.block, launch.parameters, launch.buffers)
    with pytest.raises(UsageError, match="at most 4294967294 blocks"):
        mapper.run(huge, case.sizes, threads=1, abort=ptx.Abort())


def test_maps_larger_than_the_limit_are_refused(kernels: ptx.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "MAP_BYTES_MAX", 100)
    with pytest.raises(UsageError, match="more than 100 bytes"):
        mapped(kernels, "flat")


SMALL: Mapping[str, tuple[Index, list[str]]] = {
    "saxpy": ((5, 1, 1), ["f32 2", "in f32 1280 0 1", "inout f32 1280 0 1", "i32 1200"]),
    "transpose": ((2, 3, 1), ["in f32 6144 0 1", "out f32 6144", "i32 96"]),
    "reduce": ((3, 1, 1), ["in f32 3000 0 1", "out f32 3", "i32 3000"]),
    "scan": ((4, 1, 1), ["in i32 1024 0 9", "out i32 1024", "i32 1000"]),
    "histogram": ((2, 1, 1), ["in u8 2000 0 255", "out u32 256", "i32 2000"]),
    "heat3d": ((1, 2, 4), ["in f32 2048 0 1", "out f32 2048", "i32 32", "i32 8", "i32 8", "f32 0.1"]),
    "nbody": ((2, 1, 1), ["in f32 2048 0 1", "out f32 2048", "i32 512", "f32 0.01"]),
    "life": ((2, 4, 1), ["in u8 2048 0 2", "out u8 2048", "i32 64", "i32 32"]),
    "collatz": ((2, 1, 1), ["out i32 512", "u32 1", "i32 512"]),
}


@pytest.mark.parametrize("name", SMALL)
def test_kernels_of_the_benchmark_are_judged_as_the_log_shows(modules: Mapping[str, ptx.Module], name: str) -> None:
    (case,) = ptx_cases.read([name])
    grid, arguments = SMALL[name]
    rng = np.random.default_rng(3)
    made = [ptx_cases._argument(words.split(), rng) for words in arguments]
    verdict(setup(modules[name], name, grid, case.block, made, case.shared_bytes))
