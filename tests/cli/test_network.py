"""The commands against a real provider in a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kernels_cu
from tests.cli.command import Command, Provider, alive, descendants, serving, start

ENDLESS = 'extern "C" __global__ void spin(volatile int *x) { while (x[0] == 0) {} }\n'
SAXPY = ("--entry", "saxpy", "--grid", "4", "--block", "256", "--in", "x=x.npy", "--inout", "y=y.npy")
SCALARS = ("--scalar", "n=1000:i32", "--scalar", "a=2.0:f32")


@pytest.fixture
def files(command: Command, tmp_path: Path) -> Path:
    """my.cu, x.npy and y.npy in the current directory."""
    (tmp_path / "my.cu").write_text(kernels_cu.load("saxpy").source)
    np.save(tmp_path / "x.npy", np.arange(1000, dtype=np.float32))
    np.save(tmp_path / "y.npy", np.ones(1000, np.float32))
    return tmp_path


@pytest.fixture
def through(provider: Provider) -> tuple[str, ...]:
    """Options that submit one replica through the provider."""
    return ("--replicas", "1", "--bootstrap", provider.address)


def test_a_kernel_runs_and_its_evidence_holds(command: Command, files: Path, through: tuple[str, ...]) -> None:
    assert command("run", "my.cu", *SAXPY, *SCALARS, *through, "--json") == 0, command.err
    told = command.last
    assert set(told) == {"job", "outputs", "evidence", "frauds", "price", "receipts", "seconds"}
    assert np.array_equal(np.load(told["outputs"]["y"]), 2 * np.arange(1000, dtype=np.float32) + 1)
    assert np.load("y.npy").sum() == 1000
    assert command("audit", told["evidence"], "--json") == 0
    assert [row["receipt"] for row in command.last["receipts"]] == told["receipts"]
    assert command("audit", told["evidence"], "--network", "other", "--json") == 5
    assert command.last["code"] == 5
    assert command("receipt", "verify", told["evidence"], told["receipts"][0][:12]) == 0
    assert command("receipt", "show", told["receipts"][0][:12], "--json") == 0
    assert command.last["price"] == told["price"]
    assert command("job", "list", "--json") == 0
    assert [row["state"] for row in command.last] == ["done"]
    assert command("job", "result", told["job"], "--out-dir", "again", "--json") == 0
    assert np.array_equal(np.load("again/y.npy"), np.load(told["outputs"]["y"]))
    assert command("ledger", "--json") == 0
    assert command.last[0]["promised"] == told["price"]
    assert command("receipt", "export", "all.p2p") == 0
    assert command("audit", "all.p2p") == 0


def test_variables_of_the_source_are_set(command: Command, files: Path, through: tuple[str, ...]) -> None:
    Path("weigh.cu").write_text(
        "__constant__ float weights[4];\n__device__ int scale = 3;\n"
        'extern "C" __global__ void weigh(float *y) { y[threadIdx.x] = weights[threadIdx.x] * scale; }\n'
    )
    np.save("w.npy", np.array([1, 2, 3], np.float32))
    what = ("weigh.cu", "--entry", "weigh", "--grid", "1", "--block", "4", "--out", "y=f32:4")
    assert command("run", *what, "--constant", "weights=w.npy", *through) == 0, command.err
    assert np.load("results/y.npy").tolist() == [3, 6, 9, 0]
    assert command("kernel", "check", *what, "--constant", "weights=w.npy", "--json") == 0, command.err
    assert command.last["sampling_refused"].startswith("the task sets variables")
    assert command("run", *what, "--constant", "weight=w.npy", *through) == 2
    assert "the PTX has no variable 'weight'" in command.err


def test_a_kernel_is_launched_until_nothing_moves(command: Command, files: Path, through: tuple[str, ...]) -> None:
    Path("halve.cu").write_text(
        'extern "C" __global__ void halve(int *x, int *moved, int *rounds) {\n'
        "    if (x[threadIdx.x] > 1) { x[threadIdx.x] /= 2; atomicOr(moved, 1); }\n"
        "    if (threadIdx.x == 0) rounds[0]++;\n}\n"
    )
    np.save("eights.npy", np.array([8, 5, 1], np.int32))
    what = ("halve.cu", "--entry", "halve", "--grid", "1", "--block", "3", "--inout", "x=eights.npy")
    np.save("none.npy", np.zeros(1, np.int32))
    given = ("--out", "moved=i32:1", "--inout", "rounds=none.npy", "--repeats", "100", "--until", "moved")
    assert command("run", *what, *given, *through) == 0, command.err
    assert [np.load(f"results/{name}.npy").tolist() for name in ("x", "moved", "rounds")] == [[1, 1, 1], [0], [4]]
    assert command("kernel", "check", *what, *given) == 0, command.err


def test_a_kernel_is_launched_again_and_given_a_structure(
    command: Command, files: Path, through: tuple[str, ...]
) -> None:
    Path("grow.cu").write_text(
        "struct Line { float slope; double start; };\n"
        'extern "C" __global__ void grow(Line line, float *y, const float *more) {\n'
        "    y[threadIdx.x] = line.slope * y[threadIdx.x] + (float)line.start + (more ? more[0] : 0.0f);\n}\n"
    )
    np.save("line.npy", np.array((2.0, 1.0), np.dtype([("slope", np.float32), ("start", np.float64)], align=True)))
    np.save("ones.npy", np.ones(4, np.float32))
    what = ("grow.cu", "--entry", "grow", "--grid", "1", "--block", "4", "--inout", "y=ones.npy", "--repeats", "3")
    given = ("--struct", "line=line.npy", "--scalar", "more=null")
    assert command("run", *what, *given, *through) == 0, command.err
    assert np.load("results/y.npy").tolist() == [15, 15, 15, 15]
    assert command("kernel", "check", *what, *given) == 0, command.err
    assert command("run", *what, *given, *through, "--until", "line") == 2
    assert "--until line: that is no output" in command.err
    assert command("run", *what, "--struct", "line=ones.npy", "--scalar", "more=null", *through) == 2
    assert "ones.npy holds no single structure" in command.err
    assert command("run", *what, "--scalar", "line=2", "--scalar", "more=null", *through) == 2
    assert "is a structure of 16 bytes" in command.err


def test_what_was_promised_leaves_by_the_operators_command_and_what_came_is_booked(
    command: Command, files: Path, through: tuple[str, ...], provider: Provider
) -> None:
    pay = files / "pay.py"
    pay.write_text("import sys\nopen(sys.argv[1], 'a').write(sys.stdin.read())\n")
    assert command("init", "--no-passphrase", "--json") == 0
    me = command.last["peer"]
    assert command("config", "set", "settle_at", "1") == 0
    assert command("config", "set", "settlement", json.dumps([sys.executable, str(pay), str(files / "sent")])) == 0
    assert command("run", "my.cu", *SAXPY, *SCALARS, *through, "--json") == 0, command.err
    price = command.last["price"]
    assert command("ledger", "--json") == 0  # only asks: nothing leaves by that
    with serving(files / "home") as own:
        for _ in range(200):
            assert command("ledger", "--json") == 0
            if not command.last[0]["outstanding"]:
                break
            time.sleep(0.05)
        assert (command.last[0]["promised"], command.last[0]["settled"]) == (price, price)
        own.process.terminate()
        own.process.wait(timeout=30)
    orders = {order["key"]: order for order in map(json.loads, (files / "sent").read_text().splitlines())}
    assert sum(order["amount"] for order in orders.values()) == price
    assert {order["payee"] for order in orders.values()} == {provider.listening["peer"]}
    settled = ("ledger", "settled", me, f"{price / 1e6:.6f}", "--reference", "7", "--home", provider.home)
    assert command(*settled) == 0
    assert command(*settled) == 2
    assert "booked before" in command.err
    assert command("ledger", "--home", provider.home, "--json") == 0
    (row,) = [row for row in command.last if row["peer"] == me]
    assert (row["covered"], row["received"], row["to_come"]) == (price, price, 0)
    assert command("book", "--home", provider.home, "--json") == 0
    assert [row["peer"] for row in command.last] == [provider.listening["peer"]]  # the other took its offer back


def test_tampered_evidence_is_told(command: Command, files: Path, through: tuple[str, ...]) -> None:
    assert command("run", "my.cu", *SAXPY, *SCALARS, *through) == 0
    content = bytearray(Path("results/evidence.p2p").read_bytes())
    content[-1] ^= 1
    Path("bad.p2p").write_bytes(content)
    assert command("audit", "bad.p2p") == 5
    assert command.err.splitlines()[-1].startswith("p2pcompute: ")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("gone.cu", *SAXPY, *SCALARS), 2, "gone.cu cannot be read"),
        (("my.cu", *SAXPY, "--scalar", "n=1000:i64", "--scalar", "a=2.0"), 2, "argument n is int64; the kernel wants"),
        (("my.cu", *SAXPY, "--scalar", "n=1000"), 2, "misses a"),
        (("my.cu", "--entry", "nope", *SAXPY[2:], *SCALARS), 2, "has no kernel 'nope'; its kernels are: saxpy"),
        (("my.cu", *SAXPY[:6], "--in", "x=ints.npy", "--inout", "y=y.npy", *SCALARS), 2, "has dtype i32"),
        (("broken.cu", *SAXPY, *SCALARS), 1, "broken.cu(2)"),
    ],
)
def test_bad_input_is_told_before_anything_is_sent(
    command: Command, files: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    np.save("ints.npy", np.ones(1000, np.int32))
    Path("broken.cu").write_text('extern "C" __global__ void saxpy(int n) {\n  undeclared = n;\n}\n')
    assert command("run", *arguments, "--json") == code
    assert text in command.err
    assert command.last["code"] == code


def test_an_endless_kernel_ends_as_the_kernels_fault(command: Command, files: Path, through: tuple[str, ...]) -> None:
    Path("spin.cu").write_text(ENDLESS)
    options = ("--entry", "spin", "--grid", "1", "--block", "1", "--out", "x=i32:1", "--device-s", "0.3")
    assert command("run", "spin.cu", *options, *through) == 1
    assert command.err.splitlines()[-1].startswith("p2pcompute: ")


def test_an_out_of_bounds_kernel_is_told_where(command: Command, files: Path, through: tuple[str, ...]) -> None:
    far = ("--scalar", "n=1024:i32", "--scalar", "a=2.0:f32")
    assert command("run", "my.cu", *SAXPY, *far, *through) == 1
    assert "thread" in command.err.splitlines()[-1]


def test_a_budget_that_is_too_small_is_exit_code_4(command: Command, files: Path, through: tuple[str, ...]) -> None:
    assert command("run", "my.cu", *SAXPY, *SCALARS, *through, "--budget", "0.5") == 4
    assert "budget" in command.err


def test_the_running_node_of_a_home_is_used(command: Command, files: Path, provider: Provider, tmp_path: Path) -> None:
    with serving(tmp_path / "mine", "--price", "0.4") as mine:
        elsewhere = ("--home", mine.home, "--network", "other")
        assert command("run", "my.cu", *SAXPY, *SCALARS, *elsewhere) == 2
        assert "is of network 'main', not 'other'" in command.err
        bootstrap = ("--bootstrap", provider.address)
        assert (
            command("run", "my.cu", *SAXPY, *SCALARS, "--replicas", "1", *bootstrap, "--home", mine.home, "--json") == 0
        )
        job = command.last["job"]
        assert command("job", "show", job, "--home", mine.home, "--json") == 0
        assert command.last["state"] == "done"
        assert command("status", "--home", mine.home, "--json") == 0
        assert command.last["peers"] == 1
        assert mine.stop()[0] == 0


def test_the_network_can_be_looked_at(command: Command, provider: Provider) -> None:
    at = ("--home", provider.home, "--json")
    assert command("status", *at) == 0
    me = command.last["peer"]
    assert me == provider.listening["peer"]
    assert command("book", *at) == 0
    assert [(row["peer"], row["price_per_device_s"]) for row in command.last] == [(me, 500_000)]
    assert command("offer", "list", *at) == 0
    assert len(command.last) == 1
    assert command("order", "quote", "--device-s", 2, "--replicas", 1, *at) == 0
    assert command.last == {"expected": 1_000_000, "worst": 30_000_000, "providers": [me]}
    assert command("order", "quote", "--device-s", 2, "--replicas", 2, *at) == 3
    asked = ("--engine", "cpu", "--compute-capability", "7.5", "--isolation", "jail", "--not-region", "mars")
    assert command("order", "quote", "--device-s", 2, "--replicas", 1, *asked, *at) == 0
    assert command("order", "quote", "--device-s", 2, "--replicas", 1, *asked, "--region", "mars", *at) == 3
    assert "1 × region" in command.err
    for verb in (["peer", "list"], ["peer", "list", "--banned"], ["job", "list"], ["receipt", "list"]):
        assert command(*verb, *at) == 0
        assert isinstance(command.last, list)
    assert command("top", *at) == 0
    assert set(command.last) == {"status", "jobs", "book"}
    assert command("peer", "connect", "nonsense", *at) == 2


def test_a_ban_lasts_until_it_is_lifted(command: Command, provider: Provider) -> None:
    at = ("--home", provider.home, "--json")
    assert command("book", *at) == 0
    operator = command.last[0]["operator"]
    assert command("peer", "ban", operator, *at) == 0
    assert command("peer", "list", "--banned", *at) == 0
    assert [row["operator"] for row in command.last] == [operator]
    assert command("peer", "pardon", operator, *at) == 0
    assert command("peer", "list", "--banned", *at) == 0
    assert command.last == []


def test_a_home_in_use_names_the_process(command: Command, provider: Provider) -> None:
    assert command("serve", "--home", provider.home) == 1
    assert f"is in use by process {provider.process.pid}" in command.err
    assert command("backup", "home.tar", "--home", provider.home) == 1
    assert not Path("home.tar").exists()


def test_a_port_in_use_is_one_sentence(command: Command) -> None:
    assert command("init", "--no-passphrase") == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command("serve", "--listen", f"/ip4/127.0.0.1/tcp/{port}") == 1
    assert command.err.count("\n") == 1
    assert str(port) in command.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_provider_leaves_no_process(tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "home") as running:
        children = descendants(running.process.pid)
        assert children
        code, rest = running.stop(number)
        assert code == 0
        assert rest.splitlines()[-1] == '{"event": "stopped"}'
        assert not any(alive(child) for child in children)


def test_an_interrupted_run_leaves_no_process_and_no_work(files: Path, tmp_path: Path) -> None:
    (files / "spin.cu").write_text(ENDLESS)
    options = ("--entry", "spin", "--grid", "1", "--block", "1", "--out", "x=i32:1", "--replicas", "1")
    with serving(tmp_path / "home") as running:
        spin = start("run", "spin.cu", *options, "--home", tmp_path / "me", "--bootstrap", running.address)
        assert spin.stderr is not None
        while "running" not in (line := spin.stderr.readline()):
            assert line, "the job never ran"
        children = descendants(spin.pid)
        spin.send_signal(signal.SIGINT)
        _, err = spin.communicate(timeout=30)
        assert spin.returncode == 130
        assert err.splitlines()[-1] == "p2pcompute: interrupted"
        assert not any(alive(child) for child in children)
        assert running.stop()[0] == 0


def test_a_revocation_spreads_through_the_running_node(command: Command, provider: Provider) -> None:
    at = ("--home", provider.home, "--json")
    stranger = "did:key:z6MkiPCD9mYZBhh89sz516us5onTmhr2gLP6639vTizmrebW"
    assert command("key", "revoke", "revoked", "--subject", stranger, *at) == 0
    assert command.last["spread"]
    assert command("key", "announce", "revoked", *at) == 0
    Path("revoked").write_bytes(b"no revocation")
    assert command("key", "announce", "revoked", *at) == 2
    assert "no revocation" in command.err
