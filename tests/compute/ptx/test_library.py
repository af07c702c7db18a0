"""Helper functions are compiled apart from the kernels that use them."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import library
from tests.compute.ptx.running import body_kernel, launch

REGISTERS = ".reg .b64 %a; .reg .b32 %i, %v;"


def _body(step: int) -> str:
    """An address that nothing is known of, so that a helper loads from it."""
    return f"""ld.global.u32 %i, [%in0]; mad.lo.u32 %i, %i, {step}, %t; mul.lo.u32 %i, %i, %i;
    mul.wide.u32 %a, %i, 4; add.s64 %a, %in0, %a; ld.global.u32 %v, [%a+4]; mul.wide.u32 %a, %t, 4;
    add.s64 %a, %in1, %a; st.global.u32 [%a], %v;"""


def test_a_helper_is_compiled_once_for_all_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    assemble = library.assemble

    def counted(text: str, processor: ptx.Processor) -> bytes:
        texts.append(text)
        return assemble(text, processor)

    monkeypatch.setattr(library, "assemble", counted)
    library._object.cache_clear()
    body_kernel(_body(3), 2, REGISTERS)
    first = len(texts)
    body_kernel(_body(5), 2, REGISTERS)
    assert first > 0
    assert len(texts) == first


def test_a_kernel_linked_with_helpers_loads_and_traps() -> None:
    compiled = body_kernel(_body(1), 2, REGISTERS)
    data, out = np.arange(1024, dtype=np.uint32), np.zeros(32, np.uint32)
    assert launch(compiled, (1, 1, 1), data, out).status is ptx.Status.OK
    assert out.tolist() == [t * t + 1 for t in range(32)]
    trap = launch(compiled, (1, 1, 1), data[:64].copy(), out).trap
    assert trap is not None
    assert trap.thread == (8, 0, 0)
