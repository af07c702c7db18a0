"""A stock py-libp2p host for tests: its own TCP, Noise and yamux, and none of our code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport


def new_stock_host(seed: bytes = b"\x07" * 32) -> Any:
    keys = create_new_key_pair(seed)
    noise = NoiseTransport(keys, noise_privkey=create_x25519().private_key)
    return new_host(key_pair=keys, sec_opt={NOISE: noise})


@contextmanager
def closing_dialled_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stock host never closes the sockets it dialled (they warn when collected): close them for it."""
    streams: list[trio.SocketStream] = []
    dial = trio.open_tcp_stream

    async def remembered(*arguments: Any, **options: Any) -> trio.SocketStream:
        stream = await dial(*arguments, **options)
        streams.append(stream)
        return stream

    monkeypatch.setattr(trio, "open_tcp_stream", remembered)
    try:
        yield
    finally:
        for stream in streams:
            stream.socket._sock.close()  # trio is not running any more
