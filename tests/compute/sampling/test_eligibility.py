"""Rules of docs/spec/sampling.md, one by one, on launches small enough to be seen through."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.symbolic.world import AXIS_THREADS_MAX
from p2pcompute.compute.sampling import Eligibility, KernelLaunch, Tier, eligibility
from p2pcompute.errors import UsageError
from tests.compute.ptx.interpret.checking import body
from tests.compute.sampling.conftest import alone
from tests.compute.sampling.truth import Index, setup

LINE: tuple[Index, Index] = ((4, 1, 1), (32, 1, 1))
PLANE: tuple[Index, Index] = ((3, 2, 1), (8, 4, 1))
WORDS = np.zeros(4096, np.float32)


def judged(kernels: ptx.Module, name: str, shape: tuple[Index, Index], n: int = 64, m: int = 24) -> Eligibility:
    module = alone(kernels, name)
    case = setup(module, name, *shape, [WORDS, WORDS.copy(), np.int32(n), np.int32(m)])
    return eligibility(module, name, case.launch)


@pytest.mark.parametrize(
    ("name", "shape", "tier"),
    [
        ("flat", LINE, Tier.STATIC),
        ("flat_guarded", LINE, Tier.STATIC),
        ("vectors", LINE, Tier.STATIC),
        ("per_block", LINE, Tier.STATIC),
        ("neighbour_elsewhere", LINE, Tier.STATIC),
        ("guard_from_memory", LINE, Tier.STATIC),
        ("shared_memory", LINE, Tier.STATIC),
        ("two_dimensions", PLANE, Tier.LAUNCH),
        ("transposed", PLANE, Tier.LAUNCH),
        ("grid_stride", LINE, Tier.LAUNCH),
        ("structure_of_arrays", LINE, Tier.LAUNCH),
        ("loop_of_eight", LINE, Tier.LAUNCH),
        ("moving_pointer", LINE, Tier.LAUNCH),
        ("warps", LINE, Tier.LAUNCH),
        ("masked", LINE, Tier.MAP),
        ("triangle", LINE, Tier.MAP),
        ("index_from_memory", LINE, Tier.NONE),
    ],
)
def test_the_tier_is_the_best_that_holds(
    kernels: ptx.Module, name: str, shape: tuple[Index, Index], tier: Tier
) -> None:
    assert judged(kernels, name, shape).tier is tier


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("either_buffer_by_thread", "1"),
        ("atomic", "2"),
        ("volatile_store", "3"),
        ("module_variable", "4"),
        ("neighbour_in_place", "6"),
        ("index_from_memory", "9"),
        ("shuffled", "9"),
        ("index_through_shared", "9"),
    ],
)
def test_a_refusal_names_its_rule_and_line(kernels: ptx.Module, name: str, rule: str) -> None:
    found = judged(kernels, name, LINE)
    assert rule in {reason.rule for reason in found.reasons}
    text = ptx.canonicalise(alone(kernels, name)).splitlines()
    for reason in found.reasons:
        assert any(word in text[reason.line - 1] for word in (".global", ".shared", "shfl", ".entry"))


@pytest.mark.parametrize("name", ["fixed_tile", "tile_with_halo", "guard_narrows_compound", "short_stride"])
def test_a_sum_that_does_not_name_its_block_proves_nothing(kernels: ptx.Module, name: str) -> None:
    assert not judged(kernels, name, LINE).is_proven


def test_blocks_pinned_to_different_numbers_may_store_to_one_place(kernels: ptx.Module) -> None:
    assert judged(kernels, "first_block_only", LINE).is_proven
    assert not judged(kernels, "two_blocks_one_place", LINE).is_proven


def test_an_axis_that_the_kernel_never_reads_is_an_axis(kernels: ptx.Module) -> None:
    assert judged(kernels, "flat", LINE).is_proven
    assert not judged(kernels, "flat", PLANE).is_proven


def test_alternatives_are_no_conditions(kernels: ptx.Module) -> None:
    assert judged(kernels, "two_dimensions", PLANE, n=20, m=8).is_proven
    assert not judged(kernels, "either_guard", PLANE, n=20, m=8).is_proven


def test_indices_that_may_wrap_prove_nothing(kernels: ptx.Module) -> None:
    assert not judged(kernels, "wraps", LINE).is_proven
    assert not judged(kernels, "wraps_wide", LINE).is_proven


def test_a_step_that_data_decides_is_no_step(kernels: ptx.Module) -> None:
    assert judged(kernels, "conditional_step", LINE).tier is Tier.NONE


def test_grids_beyond_32_bits_are_not_static(kernels: ptx.Module) -> None:
    blocks = AXIS_THREADS_MAX // 32
    assert judged(kernels, "flat", ((blocks, 1, 1), (32, 1, 1))).tier is Tier.STATIC
    assert judged(kernels, "flat", ((blocks + 100, 1, 1), (32, 1, 1))).tier is Tier.LAUNCH
    assert not judged(kernels, "flat", ((2**27 + 1, 1, 1), (32, 1, 1))).is_proven


def test_one_buffer_under_two_names_is_one_buffer() -> None:
    module = body(
        "mad.lo.u32 %x, %c, 32, %t; mad.wide.u32 %a, %x, 4, %in0; mad.wide.u32 %b, %x, 4, %in1;"
        "ld.global.u32 %y, [%b+4]; st.global.u32 [%a], %y;",
        parameters=2,
        registers=".reg .b32 %x, %y; .reg .b64 %a, %b;",
    )
    for names, is_proven in (({0: "p", 8: "q"}, True), ({0: "p", 8: "p"}, False)):
        launch = KernelLaunch("k", (4, 1, 1), (32, 1, 1), bytes(16), names)
        assert eligibility(module, "k", launch).is_proven is is_proven


def test_a_launch_of_one_block_meets_nobody(kernels: ptx.Module) -> None:
    assert judged(kernels, "neighbour_in_place", ((1, 1, 1), (32, 1, 1))).is_proven


@pytest.mark.parametrize(
    ("name", "rules"),
    [("flat", set()), ("guard_from_memory", {"11"}), ("unordered", {"10"})],
)
def test_independent_blocks_may_be_hindered_all_the_same(kernels: ptx.Module, name: str, rules: set[str]) -> None:
    found = judged(kernels, name, LINE)
    assert found.is_proven
    assert {reason.rule for reason in found.hindrances} == rules
    assert bool(found.fault) == bool(rules)


def test_a_launch_without_a_proof_says_why_not(kernels: ptx.Module) -> None:
    assert "rule 2" in judged(kernels, "atomic", LINE).fault


def test_unknown_entries_are_refused(kernels: ptx.Module) -> None:
    with pytest.raises(UsageError, match="no kernel 'nothing'"):
        eligibility(kernels, "nothing", KernelLaunch("nothing", (1, 1, 1), (1, 1, 1), b"", {}))
