"""Over ::1. A machine without it fails here, and should: IPv6 would be untested on it."""

from __future__ import annotations

import pytest

from p2pcompute.transport.address import parse_address
from tests.transport.harness import REQUEST, Recorder, make, running


@pytest.mark.parametrize("listen", ["/ip6/::1/tcp/0", "/ip6/::/tcp/0"])
async def test_peers_meet_over_ipv6(listen: str) -> None:
    left, right = Recorder(), Recorder()
    a, b = make(1, left), make(2, right, listen=listen)
    async with running(a, b):
        address = b.addresses()[0]
        assert parse_address(address).host == "::1"
        assert await a.connect(address) == b.peer
        assert await a.request(b.peer, REQUEST, b"hello", timeout_s=5) == b"hello"
        await right.until(lambda: bool(right.up()))
        assert right.changes[0].address.startswith("/ip6/::1/tcp/")
