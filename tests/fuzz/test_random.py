"""Every target with seeds, damaged seeds and bytes by chance: only its own errors come out, and it holds little."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import corpus, mutation
from tests.fuzz.target import NAMES, load

EXAMPLES = 400
EXAMPLES_MEASURED = 100
HELD_BYTES_FIXED = 1 << 20
"""What a core and its test hold whatever comes in: states, tables, a first use of something cached."""


@pytest.mark.parametrize("name", NAMES)
def test_seeds_in_git_are_what_the_targets_make(name: str) -> None:
    made = dict(load(name).seeds())
    assert {k: v for k, v in corpus.read(name).items() if not k.startswith(corpus.FOUND)} == made


@pytest.mark.parametrize("name", NAMES)
def test_a_target_takes_real_bytes_and_refuses_bad_ones(name: str) -> None:
    target, seeds = load(name), corpus.read(name)
    assert all(len(data) <= target.input_bytes_max for data in seeds.values())
    known = {seed: data for seed, data in seeds.items() if not seed.startswith(corpus.FOUND)}
    assert {seed: target.takes(data) for seed, data in known.items()} == {
        seed: not seed.startswith("bad") for seed in known
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_was_once_found_is_mended(name: str) -> None:
    target = load(name)
    for data in corpus.read(name).values():
        target.takes(data)


@pytest.mark.parametrize("name", NAMES)
def test_only_a_cores_own_errors_come_out_of_it(name: str) -> None:
    target, seeds = load(name), list(corpus.read(name).values())

    @settings(max_examples=EXAMPLES)
    @given(mutation.inputs(seeds, target.input_bytes_max))
    def run(data: bytes) -> None:
        target.takes(data)

    run()


@pytest.mark.parametrize("name", NAMES)
def test_no_input_makes_a_core_hold_much_more_than_itself(name: str) -> None:
    target, seeds = load(name), list(corpus.read(name).values())
    for data in seeds:
        target.takes(data)

    @settings(max_examples=EXAMPLES_MEASURED)
    @given(st.one_of(st.sampled_from(seeds), mutation.inputs(seeds, target.input_bytes_max)))
    def run(data: bytes) -> None:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        target.takes(data)
        held = tracemalloc.get_traced_memory()[1] - before
        assert held <= HELD_BYTES_FIXED + target.held_bytes_per_byte * len(data)

    tracemalloc.start()
    try:
        run()
    finally:
        tracemalloc.stop()
