"""Launches: order, states between them, arguments of every kind, shared memory, variables, and what kernels print."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.gpu import tasks
from tests.gpu.client import Worker
from tests.gpu.faults import case, ints


def test_launches_run_in_order_with_their_repeats(worker: Worker) -> None:
    result = worker.run(case("append_digit", threads=4, repeats=3, out=ints(4), digit=2))
    assert np.frombuffer(result.outputs["out"], np.int32).tolist() == [222] * 4


def test_every_state_between_launches_is_shown(worker: Worker) -> None:
    task = case("append_digit", threads=4, repeats=3, out=ints(4), digit=7)
    states, result = worker.states(task)
    assert result.status is JobStatus.OK
    assert [np.frombuffer(state["out"], np.int32).tolist() for state in states] == [[7] * 4, [77] * 4, [777] * 4]


def test_structs_are_passed_as_the_kernel_lays_them_out(worker: Worker) -> None:
    uneven = struct.pack("<b7xdh5b1x", -1, 2.5, 300, 1, 2, 3, 4, 5)
    given = {"before": np.int8(7), "uneven": np.void(uneven), "after": np.int8(-9), "out": np.zeros(6)}
    task = case("unpack", threads=6, **given)
    result = worker.run(task)
    assert (result.status, result.reason) == (JobStatus.OK, "")
    assert np.frombuffer(result.outputs["out"]).tolist() == [7, -1, 2.5, 300, 5, -9]
    assert tasks.on_cpu(task)["out"].tolist() == [7, -1, 2.5, 300, 5, -9]


@pytest.mark.parametrize("size_bytes", [48 * 1024, 100_000])
def test_a_kernel_gets_the_shared_memory_it_asks_for(worker: Worker, size_bytes: int) -> None:
    words = size_bytes // 4
    result = worker.run(case("mark_shared", threads=256, shared_bytes=size_bytes, out=ints(1), words=words))
    assert (result.status, result.reason) == (JobStatus.OK, "")
    assert np.frombuffer(result.outputs["out"], np.int32).tolist() == [0x5EC2E7]


def test_constants_have_their_values(worker: Worker) -> None:
    result = worker.run(case("look_up", threads=8, out=ints(8)))
    assert np.frombuffer(result.outputs["out"], np.int32).tolist() == [3, 1, 4, 1] * 2


def test_constants_hold_what_the_task_gives_and_the_next_task_knows_nothing_of_it(worker: Worker) -> None:
    given = {"table": np.array([9, 8, 7], np.int32)}
    for constants, expected in ((given, [9, 8, 7, 1]), ({}, [3, 1, 4, 1])):
        result = worker.run(case("look_up", threads=8, out=ints(8), constants=constants))
        assert (result.status, result.reason) == (JobStatus.OK, "")
        assert np.frombuffer(result.outputs["out"], np.int32).tolist() == expected * 2


@pytest.mark.parametrize(("repeats", "x", "moved", "rounds"), [(100, [1, 1, 1, 1], 0, 4), (2, [1, 2, 1, 1], 1, 2)])
def test_a_launch_repeats_until_nothing_moves(
    worker: Worker, repeats: int, x: list[int], moved: int, rounds: int
) -> None:
    given = {"x": np.array([1, 8, 5, 3], np.int32), "moved": ints(1), "rounds": ints(1)}
    roles = {"x": Role.INOUT}
    result = worker.run(case("settle", threads=4, roles=roles, repeats=repeats, until="moved", **given))
    assert (result.status, result.reason) == (JobStatus.OK, "")
    found = {name: np.frombuffer(data, np.int32).tolist() for name, data in result.outputs.items()}
    assert found == {"x": x, "moved": [moved], "rounds": [rounds]}


def test_module_variables_start_anew_with_every_job(worker: Worker) -> None:
    for _ in range(2):
        result = worker.run(case("count_up", threads=1, repeats=2, out=ints(1)))
        assert np.frombuffer(result.outputs["out"], np.int32).tolist() == [2]


def test_what_kernels_print_comes_back(worker: Worker) -> None:
    for word in (1, 2):
        result = worker.run(case("speak", out=ints(32), word=word))
        assert (result.status, result.log) == (JobStatus.OK, f"word {word} of many\n")
