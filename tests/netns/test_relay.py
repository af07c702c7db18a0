"""A node that nobody can dial earns and submits like any other, through a relay: real processes, separate networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

import kernels_cu
from p2pcompute.node.control import RemoteNode
from p2pcompute.storage.home import Layout
from tests.netns.conftest import PORT, Namespace, Star, ip

pytestmark = pytest.mark.netns

PATIENCE_S = 60
SAXPY = ("--entry", "saxpy", "--grid", "4", "--block", "256", "--in", "x=x.npy", "--inout", "y=y.npy")
SCALARS = ("--scalar", "n=1000:i32", "--scalar", "a=2.0:f32")
UNROUTED = "10.77.9.9"
"""An address of the hidden node that no other node has a route to."""


def status(home: Path) -> dict[str, Any]:
    return trio.run(RemoteNode(Layout(home).control_socket).status)


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def write_inputs(folder: Path) -> None:
    folder.mkdir()
    (folder / "my.cu").write_text(kernels_cu.load("saxpy").source)
    np.save(folder / "x.npy", np.arange(1000, dtype=np.float32))
    np.save(folder / "y.npy", np.ones(1000, np.float32))


def listening(addresses: Iterable[str]) -> list[str]:
    return [word for address in addresses for word in ("--listen", f"/ip4/{address}/tcp/{PORT}")]


def earns_and_submits(star: Star, hidden: Namespace, hub: str, hidden_home: Path, tmp_path: Path) -> None:
    """A buyer that knows the hub only has work done by the node in `hidden`, and that node has work done too."""
    for folder in ("bought", "submitted"):
        write_inputs(tmp_path / folder)
    expected = 2 * np.arange(1000, dtype=np.float32) + 1
    order = ("run", "my.cu", *SAXPY, *SCALARS)
    told = star.right.run(
        *order, "--home", tmp_path / "buyer", "--replicas", 2, "--bootstrap", hub, cwd=tmp_path / "bought"
    )
    assert np.array_equal(np.load(tmp_path / "bought" / told["outputs"]["y"]), expected)
    audited = star.right.run("audit", told["evidence"], cwd=tmp_path / "bought")
    assert status(hidden_home)["peer"] in {row["provider"] for row in audited["receipts"]}

    told = hidden.run(*order, "--home", hidden_home, "--replicas", 1, cwd=tmp_path / "submitted")
    assert np.array_equal(np.load(tmp_path / "submitted" / told["outputs"]["y"]), expected)


def test_a_node_that_nobody_can_dial_earns_and_submits_through_a_relay(star: Star, tmp_path: Path) -> None:
    hub_home, hidden_home = tmp_path / "hub", tmp_path / "hidden"
    ip("-n", star.left.name, "address", "add", f"{UNROUTED}/32", "dev", "lo")
    with (
        star.hub.serving(hub_home, *listening(star.hub_addresses)) as hub,
        star.left.serving(hidden_home, *listening([UNROUTED]), "--bootstrap", hub[0]),
    ):
        until(
            lambda: "through 1 relays" in status(hidden_home)["reachability"],
            lambda: (status(hidden_home), status(hub_home)),
        )
        assert "/p2p-circuit/p2p/" in status(hidden_home)["addresses"][0]
        assert status(hub_home)["reservations"] == 1
        examined = star.left.run("doctor", "--home", hidden_home, cwd=tmp_path)["findings"]
        assert [row["found"] for row in examined if row["what"] == "reachability"] == ["reached through 1 relays only"]
        earns_and_submits(star, star.left, hub[1], hidden_home, tmp_path)


def test_a_node_behind_a_masquerading_router_earns_and_submits_through_a_relay(
    star: Star, behind_nat: Namespace, tmp_path: Path
) -> None:
    hub_home, hidden_home = tmp_path / "hub", tmp_path / "hidden"
    with (
        star.hub.serving(hub_home, *listening(star.hub_addresses)) as hub,
        behind_nat.serving(hidden_home, *listening(["0.0.0.0"]), "--bootstrap", hub[0]),
    ):
        until(
            lambda: "through 1 relays" in status(hidden_home)["reachability"],
            lambda: (status(hidden_home), status(hub_home)),
        )
        assert status(hidden_home)["observed"] == [star.left.address], "the router translates"
        assert status(hub_home)["reservations"] == 1
        earns_and_submits(star, behind_nat, hub[1], hidden_home, tmp_path)
