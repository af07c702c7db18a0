"""Real nodes as processes: they find each other again, and say where they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from p2pcompute.cli.app import run
from p2pcompute.node.control import RemoteNode
from p2pcompute.storage.home import Layout
from tests.cli.command import Provider, serving, start

PATIENCE_S = 60


def status(home: Path) -> dict[str, Any]:
    return trio.run(RemoteNode(Layout(home).control_socket).status)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)


def test_a_restarted_node_finds_the_mesh_without_a_bootstrap(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with serving(first) as one:
        with serving(second, "--bootstrap", one.address) as two:
            until(lambda: Layout(first).peers.exists() and Layout(second).peers.exists())
            assert two.address in Layout(first).peers.read_text()
            two.process.kill()
        again = start("serve", "--json", "--home", second, "--listen", "/ip4/127.0.0.1/tcp/0", "--memory", "64MiB")
        try:
            assert again.stdout is not None
            assert again.stdout.readline()
            until(lambda: status(second)["peers"] == 1)
        finally:
            again.kill()
            again.communicate()


def test_an_announced_address_is_the_one_that_is_told(tmp_path: Path) -> None:
    announced = "/ip4/203.0.113.7/tcp/4444"
    with serving(tmp_path / "home", "--announce", announced) as node:
        assert node.address.startswith(f"{announced}/p2p/")
        offers = trio.run(RemoteNode(Layout(node.home).control_socket).table, "book")
        assert offers[0]["addresses"] == [node.address]


def test_a_node_says_how_others_see_it(tmp_path: Path) -> None:
    with serving(tmp_path / "first") as one, serving(tmp_path / "second", "--bootstrap", one.address) as two:
        until(lambda: bool(status(two.home)["observed"]))
        seen = status(two.home)
        assert seen["observed"] == ["127.0.0.1"]
        assert seen["outbound"] == 1
        assert _inbound(one) == 1
        assert seen["reachability"] == "reached from this machine only"


def _inbound(provider: Provider) -> int:
    return int(status(provider.home)["inbound"])


def test_a_node_learns_of_others_through_the_dht_and_counts_its_gossip(tmp_path: Path) -> None:
    with serving(tmp_path / "first") as one, serving(tmp_path / "second", "--bootstrap", one.address) as two:
        until(lambda: min(status(node.home)["dht_peers"] for node in (one, two)) == 1)
        until(lambda: sum(status(node.home)["gossip"]["accepted"] for node in (one, two)) > 0)
        until(lambda: status(two.home)["gossip"]["mesh"] == {"/p2pcompute/main/offers/any/any/0/0": 1})


def test_a_node_on_ipv6_is_dialled_and_dials(tmp_path: Path) -> None:
    with serving(tmp_path / "first", "--listen", "/ip6/::1/tcp/0") as one:
        assert "/ip6/::1/tcp/" in one.address + str(one.listening["addresses"])
        address = next(text for text in one.listening["addresses"] if text.startswith("/ip6/"))
        with serving(tmp_path / "second", "--bootstrap", address) as two:
            until(lambda: status(two.home)["peers"] == 1)
            until(lambda: status(two.home)["reachability"].startswith("reached"))


def test_a_direct_peer_is_connected_without_a_bootstrap(tmp_path: Path) -> None:
    with serving(tmp_path / "first") as one:
        home = tmp_path / "second"
        assert run(["init", "--home", str(home), "--no-passphrase"]) == 0
        assert run(["config", "set", "direct", one.address, "--home", str(home)]) == 0
        two = start("serve", "--json", "--home", home, "--listen", "/ip4/127.0.0.1/tcp/0", "--memory", "64MiB")
        try:
            assert two.stdout is not None
            assert two.stdout.readline()
            until(lambda: status(home)["peers"] == 1)
        finally:
            two.kill()
            two.communicate()
