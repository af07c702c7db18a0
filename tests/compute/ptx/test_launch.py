"""Launching: arguments, shapes, module variables, the object cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import jit, lower
from p2pcompute.errors import PtxError, UsageError
from tests.compute.ptx.running import HEADER, body_kernel, kernel, launch, module, pack, run


def test_wrong_number_of_arguments_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"Kernel 'saxpy' takes 4 arguments, not 1\."):
        ptx.pack_parameters(module("saxpy").entries["saxpy"], [b"1234"])


def test_wrong_size_names_the_parameter() -> None:
    with pytest.raises(
        UsageError, match=r"Argument 0 of kernel 'saxpy' is 8 bytes; parameter 'saxpy_param_0' \(\.f32\) takes 4\."
    ):
        ptx.pack_parameters(module("saxpy").entries["saxpy"], [bytes(8), bytes(8), bytes(8), bytes(4)])


def test_parameters_are_packed_at_their_alignment() -> None:
    packed = ptx.pack_parameters(module("saxpy").entries["saxpy"], [b"aaaa", b"b" * 8, b"c" * 8, b"dddd"])
    assert packed == b"aaaa\0\0\0\0bbbbbbbbccccccccdddd"


@pytest.mark.parametrize("block", [(0, 1, 1), (1025, 1, 1), (64, 64, 1), (1, 1, 65)])
def test_impossible_blocks_are_refused(block: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="block"):
        ptx.compile_entry(module("saxpy"), "saxpy", block)


def test_impossible_launches_are_refused() -> None:
    compiled, memory = kernel("saxpy", "saxpy", (32, 1, 1)), ptx.Memory([])
    with pytest.raises(UsageError, match="grid"):
        compiled.launch(memory, bytes(28), (0, 1, 1), threads=1, abort=ptx.Abort())
    with pytest.raises(UsageError, match="parameter block"):
        compiled.launch(memory, bytes(27), (1, 1, 1), threads=1, abort=ptx.Abort())
    with pytest.raises(UsageError, match="shared memory"):
        compiled.launch(memory, bytes(28), (1, 1, 1), 10**6, threads=1, abort=ptx.Abort())
    with pytest.raises(UsageError, match="host threads"):
        compiled.launch(memory, bytes(28), (1, 1, 1), threads=0, abort=ptx.Abort())


def test_unknown_entry_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no kernel 'axpy'; it has saxpy"):
        ptx.compile_entry(module("saxpy"), "axpy", (32, 1, 1))


def test_constants_are_initialised_and_can_be_set() -> None:
    out, compiled = np.zeros(32, np.float32), kernel("spaces", "constants", (32, 1, 1))
    memory = ptx.Memory([out])
    memory.variable(compiled.module, compiled.digest, "host_set")[:] = np.array([10, 20, 30, 40], np.float32).view(
        np.uint8
    )
    result = compiled.launch(memory, pack(compiled, memory, [out]), (1, 1, 1), threads=1, abort=ptx.Abort())
    assert result.status is ptx.Status.OK
    t = np.arange(32)
    np.testing.assert_array_equal(out, ((t & 7) + 1) * 4.0 + 10 * ((t & 3) + 1))


def test_module_variables_stay_between_launches_of_one_memory() -> None:
    out, compiled = np.zeros(32, np.int32), kernel("spaces", "globals", (32, 1, 1))
    memory = ptx.Memory([out])
    for _ in range(3):
        compiled.launch(memory, pack(compiled, memory, [out]), (2, 1, 1), threads=2, abort=ptx.Abort())
    assert memory.variable(compiled.module, compiled.digest, "counter").view(np.int32)[0] == 5 + 3 * 64
    assert memory.variable(compiled.module, compiled.digest, "table").view(np.int32).tolist() == [7] * 4
    assert set(out) == {4}


def test_unaligned_and_strided_buffers_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 16"):
        ptx.Memory([np.zeros(64, np.uint8)[1:33]])
    with pytest.raises(UsageError, match="contiguous"):
        ptx.Memory([np.zeros((4, 4), np.uint8)[:, ::2]])
    with pytest.raises(UsageError, match="no buffer 1"):
        ptx.Memory([16]).address(1)


def test_cached_object_gives_the_same_result_without_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def saxpy() -> np.ndarray:
        x, y = np.arange(100, dtype=np.float32), np.ones(100, np.float32)
        compiled = ptx.compile_entry(module("saxpy"), "saxpy", (64, 1, 1), cache_dir=tmp_path)
        assert launch(compiled, (2, 1, 1), np.float32(3), x, y, np.int32(100)).status is ptx.Status.OK
        return y

    first = saxpy()
    monkeypatch.setattr("p2pcompute.compute.ptx.launch.assemble", None)
    np.testing.assert_array_equal(saxpy(), first)


def test_damaged_cache_entry_is_compiled_anew(tmp_path: Path) -> None:
    ptx.compile_entry(module("saxpy"), "saxpy", (64, 1, 1), cache_dir=tmp_path)
    (entry,) = tmp_path.iterdir()
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)
    assert jit.read_cached(tmp_path, entry.stem) is None
    ptx.compile_entry(module("saxpy"), "saxpy", (64, 1, 1), cache_dir=tmp_path)
    assert jit.read_cached(tmp_path, entry.stem) is not None


def test_irreducible_control_flow_is_refused() -> None:
    body = ".reg .pred %p; .reg .b32 %r; @%p bra $b;\n$a: mov.u32 %r, 1; bra $b;\n$b: @%p bra $a; ret;"
    with pytest.raises(PtxError, match="irreducible"):
        ptx.compile_entry(ptx.parse(f"{HEADER}.visible .entry k() {{ {body} }}\n"), "k", (32, 1, 1))


def test_more_live_registers_than_a_stack_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "STACK_BYTES_MAX", 64 * 1024)
    count = 300
    body = "".join(f"add.u64 %d{n}, %in0, {n}; cvt.u64.u32 %x, %t; xor.b64 %d{n}, %d{n}, %x;" for n in range(count))
    body += "".join(f"st.global.u64 [%in0], %d{n};" for n in range(count))
    with pytest.raises(PtxError, match=r"line \d+: more than \d+ bytes of registers"):
        body_kernel(body, 1, f".reg .b64 %d<{count}>, %x;")


def test_quick_machine_code_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(0.1, 99, 64)
    results = []
    for limit in (jit.QUICK_TEXT_BYTES, 0):
        monkeypatch.setattr(jit, "QUICK_TEXT_BYTES", limit)
        out = np.zeros(64)
        run(ptx.compile_entry(module("calls"), "library", (64, 1, 1)), (1, 1, 1), values, out)
        results.append(out)
    assert results[0].tobytes() == results[1].tobytes()
