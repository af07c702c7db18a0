"""`p2pcompute kernel check FILE.cu`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import Command

SOURCE = """
extern "C" __global__ void twice(const float *x, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 2.0f * x[i];
}
extern "C" __global__ void total(const float *x, float *sum) {
    float sine;
    asm("sin.approx.f32 %0, %1;" : "=f"(sine) : "f"(x[threadIdx.x]));
    atomicAdd(sum, sine);
}
"""
SHAPE = ("--grid", "2", "--block", "32")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.cu").write_text(SOURCE)
    np.save(tmp_path / "x.npy", np.ones(50, np.float32))
    return tmp_path


def test_a_clean_file_is_exact_and_its_blocks_are_independent(command: Command, here: Path) -> None:
    arguments = ("--entry", "twice", "--in", "x=x.npy", "--out", "y=f32:50", "--scalar", "n=50:i32")
    assert command("kernel", "check", "my.cu", *arguments, *SHAPE, "--json") == 0
    found = command.last
    assert (found["class"], found["findings"], found["checked_threads"]) == ("exact", [], 64)
    assert found["complete"]
    assert found["blocks_independent"]["observed"]


def test_an_overrun_fails_and_names_its_place(command: Command, here: Path) -> None:
    arguments = ("--entry", "twice", "--in", "x=x.npy", "--out", "y=f32:50", "--scalar", "n=51:i32")
    assert command("kernel", "check", "my.cu", *arguments, *SHAPE, "--json") == 1
    first, _ = command.last["findings"]
    assert (first["kind"], first["buffer"], first["block"], first["thread"]) == (
        "out of bounds",
        "x",
        [1, 0, 0],
        [18, 0, 0],
    )
    assert command("kernel", "check", "my.cu", *arguments, *SHAPE) == 1
    assert "reads 4 bytes at x[50]; it has 200 bytes" in command.out
    assert "my.cu:4" in command.out


def test_the_class_comes_with_reasons(command: Command, here: Path) -> None:
    np.save(here / "sum.npy", np.zeros(1, np.float32))
    arguments = ("--entry", "total", "--in", "x=x.npy", "--inout", "sum=sum.npy")
    assert command("kernel", "check", "my.cu", *arguments, *SHAPE, "--json") == 0
    assert command.last["class"] == "approx"
    assert len(command.last["reasons"]) == 2
    assert not command.last["blocks_independent"]["observed"]


def test_a_launch_that_cannot_be_sampled_says_why_and_where(command: Command, here: Path) -> None:
    np.save(here / "sum.npy", np.zeros(1, np.float32))
    arguments = ("--entry", "total", "--in", "x=x.npy", "--inout", "sum=sum.npy")
    assert command("kernel", "check", "my.cu", *arguments, *SHAPE, "--json") == 0
    (verdict,) = command.last["sampling"]
    assert verdict["tier"] == "none"
    assert {reason["rule"] for reason in verdict["reasons"]} == {"2"}
    assert all(reason["source"].startswith(("my.cu:", "sm_")) for reason in verdict["reasons"])


def test_a_check_that_runs_out_of_steps_says_how_far_it_came(command: Command, here: Path) -> None:
    arguments = ("--entry", "twice", "--in", "x=x.npy", "--out", "y=f32:50", "--scalar", "n=50:i32", "--steps", "700")
    assert command("kernel", "check", "./my.cu", *arguments, *SHAPE) == 0
    assert "after 1 of 2 blocks" in command.err
    assert "smaller grid" in command.err


def test_a_file_needs_a_launch(command: Command, here: Path) -> None:
    assert command("kernel", "check", "my.cu", "--entry", "twice", "--block", "32") == 2
    assert "--grid" in command.err
    assert command("kernel", "check", "my.cu", "saxpy") == 2


def test_lines_are_the_users_own_in_headers_too(command: Command, here: Path) -> None:
    (here / "parts").mkdir()
    (here / "parts" / "next.cuh").write_text(
        "__device__ float next(const float *x,\n  int i) {\n  return x[i + 1];\n}\n"
    )
    (here / "sums.cu").write_text("""#include "next.cuh"
extern "C" __global__ void sums(const float *x, float *y) {
  __shared__ float s[33];
  s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = next(s, threadIdx.x) + next(x, threadIdx.x + 20);
}
""")
    arguments = ("--entry", "sums", "--in", "x=x.npy", "--out", "y=f32:32", "--include", "parts")
    assert command("kernel", "check", "sums.cu", *arguments, "--grid", "1", "--block", "32", "--json") == 1
    found = {(finding["kind"], finding["source"]) for finding in command.last["findings"]}
    assert found == {
        ("out of bounds", "parts/next.cuh:3"),
        ("race", "sums.cu:4"),
        ("uninitialised read", "parts/next.cuh:3"),
    }
    messages = " ".join(finding["message"] for finding in command.last["findings"])
    assert "read (parts/next.cuh:3)" in messages
    assert "PTX line" not in messages
