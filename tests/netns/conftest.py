"""Network namespaces for tests: a hub in the middle, and leaves that reach the hub and nobody else.

They need root, iproute2 and nftables. Where they cannot be made these tests fail: they run on demand only (`./dev test
--nightly`), and a run that was asked for must not skip what it was asked.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from p2pcompute.cli.app import run

PORT = 9471


MASQUERADE = """
table ip home {
    chain outward {
        type nat hook postrouting priority srcnat;
        oifname "up0" masquerade
    }
    chain inward {
        type filter hook forward priority filter; policy drop;
        iifname "lan" accept
        ct state established,related accept
    }
}
"""
"""A home's router: what goes out has the router's address, and nothing comes in but answers."""


def ip(*arguments: object) -> None:
    subprocess.run(["ip", *map(str, arguments)], check=True, timeout=10)


def _set_forwarding(name: str, value: int) -> None:
    ip("netns", "exec", name, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/ip_forward")


@dataclasses.dataclass(frozen=True)
class Namespace:
    """One machine of the test's own. `address` is its IPv4 address."""

    name: str
    address: str

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """A p2pcompute command in there."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "p2pcompute", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, cwd: Path) -> Any:
        """The last line of a command's output, as JSON. Fails when the command does."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "p2pcompute", *map(str, arguments), "--json"],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=cwd,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def serving(self, home: Path, *options: object) -> Iterator[list[str]]:
        """A provider in there; its addresses."""
        assert run(["init", "--home", str(home), "--no-passphrase"]) == 0
        process = self.start("serve", "--json", "--home", home, "--memory", "64MiB", "--threads", 1, *options)
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, process.communicate()[1]
            yield json.loads(first)["addresses"]
        finally:
            process.kill()
            process.communicate()


@dataclasses.dataclass(frozen=True)
class Star:
    """`hub` is reached by both leaves, at both of its addresses; no leaf reaches the other."""

    hub: Namespace
    left: Namespace
    right: Namespace
    hub_addresses: tuple[str, str]


@pytest.fixture
def star() -> Iterator[Star]:
    tag = f"p2pc{os.getpid()}"
    with ExitStack() as stack:
        for role in ("hub", "left", "right"):
            name = f"{tag}{role}"
            ip("netns", "add", name)
            stack.callback(ip, "netns", "delete", name)
            ip("-n", name, "link", "set", "lo", "up")
        hub, sides = f"{tag}hub", []
        for number, role in enumerate(("left", "right"), start=1):
            leaf = f"{tag}{role}"
            ip("link", "add", "up0", "netns", leaf, "type", "veth", "peer", "name", role, "netns", hub)
            ip("-n", hub, "address", "add", f"10.77.{number}.1/24", "dev", role)
            ip("-n", leaf, "address", "add", f"10.77.{number}.2/24", "dev", "up0")
            ip("-n", hub, "link", "set", role, "up")
            ip("-n", leaf, "link", "set", "up0", "up")
            ip("-n", leaf, "route", "add", "default", "via", f"10.77.{number}.1")
            sides.append(Namespace(leaf, f"10.77.{number}.2"))
        _set_forwarding(hub, 0)
        yield Star(Namespace(hub, "10.77.1.1"), sides[0], sides[1], ("10.77.1.1", "10.77.2.1"))


@pytest.fixture
def behind_nat(star: Star) -> Iterator[Namespace]:
    """A machine at home: the left leaf is its router, which hides it behind its own address by nftables."""
    home, router = f"{star.left.name}home", star.left.name
    ip("netns", "add", home)
    try:
        ip("link", "add", "up0", "netns", home, "type", "veth", "peer", "name", "lan", "netns", router)
        ip("-n", router, "address", "add", "192.168.50.1/24", "dev", "lan")
        ip("-n", home, "address", "add", "192.168.50.2/24", "dev", "up0")
        for name, device in ((home, "lo"), (home, "up0"), (router, "lan")):
            ip("-n", name, "link", "set", device, "up")
        ip("-n", home, "route", "add", "default", "via", "192.168.50.1")
        _set_forwarding(router, 1)
        nft = ["ip", "netns", "exec", router, "nft", "--file", "-"]
        subprocess.run(nft, check=True, timeout=10, input=MASQUERADE, text=True)
        yield Namespace(home, "192.168.50.2")
    finally:
        ip("netns", "delete", home)
