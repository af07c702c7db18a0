"""py-libp2p as a guest on our connections: it serves identify and ping there, and dials through us.

The swarm sees our connections as finished `IMuxedConn`s, so that its own security, multiplexers and listeners stay out
of the way (secio, plaintext, QUIC and mplex are not even built). Negotiation of inbound streams is done before it sees
them. Whatever it raises, or does to what it believes to be its connection, ends here. It is imported and started in
the background: the import alone takes a second, and nothing of ours waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

import trio

from p2pcompute.errors import RemoteError
from p2pcompute.transport.mux import Connection, Stream

if TYPE_CHECKING:
    from p2pcompute.transport.host import Host

log = logging.getLogger(__name__)

PROTOCOLS: Final = frozenset(("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"))
RESTART_S: Final = 5.0
READY_S: Final = 30.0
"""What the host may take to come up before streams for it are reset; its import is slow on a busy machine."""
STREAMS_PER_CONNECTION_MAX: Final = 8
"""Streams of one peer that the guest works on at once: it holds no limits of its own."""
SHOWN_MAX: Final = 64
"""Connections the swarm knows of: its bookkeeping costs the square of their number, 3 ms each at 500. Streams of all
others are served all the same."""
SETTLED_S: Final = 5.0
"""A connection is shown when it has lasted so long: to the swarm each costs more than its handshake, and those of a
search are gone again."""


class Guest:
    """Keeps a py-libp2p host running and shows it our connections."""

    def __init__(self, seed: bytes, own: Collection[str], dial: Callable[[str], Awaitable[Connection]]) -> None:
        self._seed, self._own, self._dial = seed, tuple(own), dial
        self._connections: dict[Connection, int] = {}
        self._host: Host | None = None
        self._ready = trio.Event()

    async def run(self, addresses: Callable[[], Sequence[str]]) -> None:
        """Until cancelled; `addresses` tells at any time where others reach us.

        A host that fails is replaced; connections never notice.
        """
        while True:
            try:
                await trio.to_thread.run_sync(_import_host, abandon_on_cancel=True)  # type: ignore[call-arg]  # old stubs
                from p2pcompute.transport.host import Host

                host = Host(self._seed, addresses, self._own, self._dial)
                async with host.run():
                    self._host = host
                    self._ready.set()
                    await self._show(host)
            except Exception:
                log.exception("the py-libp2p host failed; identify and ping pause for %g s", RESTART_S)
            finally:
                self._host, self._ready = None, trio.Event()
            await trio.sleep(RESTART_S)

    async def _show(self, host: Host) -> None:
        """Show the host the connections that stay."""
        before, shown = set[Connection](), set[Connection]()
        while True:
            settled = [one for one in self._connections if one in before and one not in shown]
            for connection in settled[: SHOWN_MAX - len(shown)]:
                host.add(connection)
                shown.add(connection)
            before = set(self._connections)
            await trio.sleep(SETTLED_S)
            shown &= self._connections.keys()

    def add(self, connection: Connection) -> None:
        """A new connection, which the host serves and is shown when it stays."""
        self._connections[connection] = 0

    def remove(self, connection: Connection) -> None:
        del self._connections[connection]
        if self._host is not None:
            self._host.forget(connection)

    async def serve(self, connection: Connection, stream: Stream, protocol: str) -> None:
        """Let the host handle an inbound stream. Raises when it is not up in time."""
        if self._connections.get(connection, STREAMS_PER_CONNECTION_MAX) >= STREAMS_PER_CONNECTION_MAX:
            raise RemoteError(f"the peer opens too many streams of {protocol}")
        self._connections[connection] += 1
        try:
            with trio.fail_after(READY_S):
                await self._ready.wait()
            if self._host is not None:
                await self._host.serve(connection, stream, protocol)
        finally:
            if connection in self._connections:
                self._connections[connection] -= 1


def _import_host() -> None:
    import p2pcompute.transport.host  # noqa: F401
