from __future__ import annotations

import numpy as np
import pytest

import kernels_cu
from kernels_cu import black_scholes_mc


@pytest.mark.parametrize("name", kernels_cu.names())
def test_a_reference_passes_its_own_check(name: str) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(1)
    assert spec.check(work, spec.reference(work)) == ""


@pytest.mark.parametrize("name", kernels_cu.names())
def test_one_wrong_element_is_found_and_named(name: str) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(1)
    outputs = spec.reference(work)
    first = next(iter(outputs))
    outputs[first].reshape(-1)[17] += 1
    assert spec.check(work, outputs).startswith(f"{first}[17] is ")


@pytest.mark.parametrize("name", kernels_cu.names())
def test_an_output_of_the_wrong_shape_is_found(name: str) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(1)
    outputs = {key: array.reshape(-1)[:-1] for key, array in spec.reference(work).items()}
    assert "is missing, or is not" in spec.check(work, outputs)


@pytest.mark.parametrize("name", kernels_cu.names())
def test_work_is_the_same_every_time_and_grows_with_scale(name: str) -> None:
    spec = kernels_cu.load(name)
    one, again, two = spec.build(1), spec.build(1), spec.build(2)
    assert all(np.array_equal(one.inputs[key], again.inputs[key]) for key in one.inputs)
    assert np.prod(two.grid) > np.prod(one.grid)


@pytest.mark.parametrize("name", kernels_cu.names())
def test_every_parameter_has_its_value(name: str) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(1)
    given = {
        "scalar": set(work.scalars),
        "in": set(work.inputs) - set(work.outputs),
        "inout": set(work.inputs) & set(work.outputs),
        "out": set(work.outputs) - set(work.inputs),
    }
    for role in kernels_cu.library.ROLES:
        assert {p.name for p in spec.parameters if p.role == role} == given[role]


def test_an_unknown_kernel_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="saxpy"):
        kernels_cu.load("absent")


def test_a_scale_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        kernels_cu.load("saxpy").build(0)


def test_philox_gives_the_published_words() -> None:
    """Known answer of Random123 (kat_vectors): philox4x32 10, counter 0, key 0."""
    words = black_scholes_mc._philox(np.zeros(1, np.uint64), 0, 0)
    assert [int(w[0]) for w in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_the_closed_form_is_the_textbook_price() -> None:
    """Hull, "Options, Futures, and Other Derivatives": put-call parity fixes the price; checked to six digits."""
    assert black_scholes_mc.closed_form() == pytest.approx(12.001676, abs=1e-6)
