"""The transport port: connections to peers by public key, frames on channels, requests, and raw streams.

Our protocols run on our own TCP + Noise + yamux stack. py-libp2p serves its protocols (identify, ping) on the same
connections as a guest (`guest.py`): it comes up in the background, and whatever happens to it costs no connection.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio

from p2pcompute.errors import LocalError, P2PComputeError, RemoteError
from p2pcompute.identity.names import peer_id
from p2pcompute.protocol.machine import PeerInfo, Priority
from p2pcompute.transport import circuit, dialback, identify, noise, push, relayed, tcp
from p2pcompute.transport.address import Address, parse_address
from p2pcompute.transport.admission import Admission, Refusal
from p2pcompute.transport.allowance import Allowances
from p2pcompute.transport.channels import Framer, Sent, pack_frame, read_frame
from p2pcompute.transport.guest import PROTOCOLS as GUEST_PROTOCOLS
from p2pcompute.transport.guest import Guest
from p2pcompute.transport.location import Location
from p2pcompute.transport.memory import BUFFERED_BYTES_MAX, Memory
from p2pcompute.transport.mux import Connection, Cork, Stream
from p2pcompute.transport.peers import Peer, Peers
from p2pcompute.transport.relay import Relay, RelayLimits
from p2pcompute.transport.relayed import Place
from p2pcompute.transport.trimming import Usefulness, least_useful, no_opinion

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings type stubs that hide trio.TaskStatus

__all__ = ["Libp2pTransport", "TransportEvents"]

log = logging.getLogger(__name__)
T = TypeVar("T")

IDLE_S: Final = 15.0
"""A connection that brought nothing for so long is asked for a sign of life."""
PONG_S: Final = 10.0
"""What the peer has to give it."""
WATCH_S: Final = 2.5
RETIRE_S: Final = 10.0
"""What the streams of a retired connection have to end."""
REQUESTS_PER_PEER_MAX: Final = 128
"""Requests of one peer that we work on at once; more are reset."""
REQUEST_READ_S: Final = 10.0
"""What a peer has to send us its request."""
OUTBOUND_KEPT: Final = 12
"""Connections that we dialled and that are kept, whatever for; searches leave no more behind, as many as a mesh has."""
WORTH_KEPT: Final = 2.0
"""From here on a connection stays all the same: work between us (`PeerCore.usefulness`). An offer is no reason."""
REQUEST_HANDLER_S: Final = 300.0
"""What our own handler has to answer: a bound on leaks, the requester's own deadline comes long before."""


class TransportEvents(Protocol):
    """Who listens to a transport. All run on the trio thread; what they raise is logged and goes no further."""

    def on_peer(self, info: PeerInfo) -> None:
        """A peer became usable, or is gone. `protocols` is empty: what a peer speaks shows when it is spoken to."""

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None: ...

    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None:
        """The answer; None resets the stream."""

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        """A peer opened a stream; it is closed when this returns and reset when this raises."""


class Libp2pTransport:
    """One peer on the network.

    `channels`, `requests` and `streams` declare the protocols we speak: one-way frames and request/response, each with
    its largest frame in bytes, and raw streams. `older` gives further protocol ids of a channel, best first, for peers
    that do not know its own name; frames that come in on one of those are announced under the id they came on.
    `listen` holds multiaddrs (port 0 takes a free port); `announce` replaces them in `addresses`, for peers behind a
    forwarded port. Without `libp2p_host`, peers of other implementations still connect and speak our protocols, but
    identify and ping are refused them: that saves a second of start-up and 60 MB where hundreds of peers run on one
    machine. `usefulness` decides who stays when all room is taken. With `relay` limits, peers that cannot be dialled
    are reached through this one. `told` hears from connected peers whose addresses changed.
    """

    def __init__(
        self,
        seed: bytes,
        *,
        listen: Sequence[str],
        events: TransportEvents,
        channels: Mapping[str, int] | None = None,
        requests: Mapping[str, int] | None = None,
        streams: Sequence[str] = (),
        older: Mapping[str, Sequence[str]] | None = None,
        announce: Sequence[str] = (),
        libp2p_host: bool = True,
        usefulness: Usefulness = no_opinion,
        relay: RelayLimits | None = None,
        told: push.Told = push.no_interest,
        buffered_bytes_max: int = BUFFERED_BYTES_MAX,
    ) -> None:
        public, sign = noise.signer(seed)
        self.peer = public
        """Our own 32-byte ed25519 public key."""
        self._identity = tcp.Identity(public, sign)
        self._listen = tuple(parse_address(text) for text in listen)
        self._location = Location(public, announce)
        self._events = events
        self._channels, self._requests = dict(channels or {}), dict(requests or {})
        self._streams = frozenset(streams)
        self._versions = {name: (name, *(older or {}).get(name, ())) for name in self._channels}
        self._frame_bytes_max = {one: self._channels[name] for name, ids in self._versions.items() for one in ids}
        self._own = frozenset((*self._frame_bytes_max, *self._requests, *streams))
        self._admission, self._cork, self._allowances = Admission(), Cork(), Allowances()
        self._usefulness = usefulness
        self._admitted: dict[Connection, str] = {}
        self._memory = Memory(buffered_bytes_max)
        self._peers = Peers(public, self._start, self._memory)
        self._dialling: dict[bytes, trio.Event] = {}
        self._inbound: dict[tuple[Connection, str], Stream] = {}
        self._dialback = dialback.Dialback(self._identity)
        self._relay = Relay(self, self._identity, relay) if relay is not None else None
        self._libp2p_host = libp2p_host
        spoken = {*self._own, circuit.STOP, dialback.PROTOCOL, push.PROTOCOL}
        spoken |= {circuit.HOP} if relay is not None else set()
        self._guest = Guest(seed, sorted(spoken), self._dial_for_guest)
        self._told, self._inbox = told, push.Inbox(self._take_push)
        everything = sorted(spoken | GUEST_PROTOCOLS if libp2p_host else spoken)
        self._announcer = push.Announcer(self, self._identity, everything)
        self._nursery: trio.Nursery | None = None

    # Life ------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until cancelled; started once listening. Raises LocalError when it cannot listen."""
        listeners = await tcp.listen(self._listen)
        names = [listener.socket.getsockname() for listener in listeners]
        self._location.listen([(str(name[0]), int(name[1])) for name in names])
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._watch)
                nursery.start_soon(self._announcer.run)
                if self._libp2p_host:
                    nursery.start_soon(self._guest.run, self.addresses)
                if listeners:
                    nursery.start_soon(functools.partial(trio.serve_listeners, self._accept, listeners))
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def addresses(self) -> tuple[str, ...]:
        """Where others reach us, each with /p2p/ID; empty before `run` listens. Those through a relay stand first: who
        holds a place there cannot be reached otherwise."""
        return tuple(map(str, self._location.addresses()))

    def load(self) -> Mapping[str, int]:
        """How many connections there are, handshakes in progress, and what goes through this peer as a relay."""
        gate = self._admission
        reservations, circuits = self._relay.load() if self._relay is not None else (0, 0)
        return {
            "inbound": gate.inbound,
            "outbound": gate.outbound,
            "handshakes": gate.pending,
            "reservations": reservations,
            "circuits": circuits,
            "buffered_bytes": self._memory.bytes,
        }

    def connection_to(self, peer: bytes) -> Connection | None:
        """The connection in use to a peer."""
        found = self._peers.get(peer)
        return found.current() if found is not None else None

    def connections(self) -> list[Connection]:
        """The connection in use to each peer."""
        return [connection for peer in self._peers if (connection := peer.current()) is not None]

    def _start(self, task: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None, "frames are sent on connections, and connections exist only in run()"
        self._nursery.start_soon(_contained, task)

    async def _accept(self, socket: trio.SocketStream) -> None:
        await _contained(lambda: tcp.accept(socket, self._identity, self._admission, self._welcome))

    async def _welcome(self, secured: tcp.Secured, remote: Address) -> None:
        connection = await self._adopt(secured, remote, outbound=False)
        if connection is not None:
            await self._live(connection)

    async def _adopt(self, secured: tcp.Secured, remote: Address, *, outbound: bool) -> Connection | None:
        """The connection, already counted; None (and a closed socket) when it is our own or one too many."""
        if secured.peer == self.peer or not self._admit(secured.peer, remote.host, outbound=outbound):
            await trio.aclose_forcefully(secured.socket)
            return None
        connection = Connection(
            secured.socket,
            secured.session,
            peer=secured.peer,
            outbound=outbound,
            address=str(Address(remote.host, remote.port, secured.peer, remote.relay)),
            owner=self,
            cork=self._cork,
            early=secured.early,
            allowance=self._allowances.of(secured.peer, trio.current_time()),
            memory=self._memory,
        )
        self._admitted[connection] = remote.host
        if self._peers.add(connection):
            self._tell_peer(connection, up=True)
        return connection

    def _admit(self, peer: bytes, host: str, *, outbound: bool) -> bool:
        """Count a new connection, if there is room or somebody less useful gives way."""
        refusal = self._admission.refusal(host, outbound=outbound)
        if refusal is Refusal.FULL and not outbound:
            victim = least_useful(self._admitted, peer, self._usefulness, self._admission.crowd)
            if victim is not None:
                log.debug("%s gives way to a newcomer", victim.address)
                self._release(victim)
                victim.close()
                refusal = None
        if refusal is None:
            self._admission.take(host, outbound=outbound)
        return refusal is None

    def _release(self, connection: Connection) -> None:
        host = self._admitted.pop(connection, None)
        if host is not None:
            self._admission.release(host, outbound=connection.outbound)

    async def _live(self, connection: Connection) -> None:
        """The connection's life, from its first byte to the last trace of it."""
        self._guest.add(connection)
        try:
            await connection.run()
        finally:
            self._guest.remove(connection)
            self._release(connection)
            if self._peers.remove(connection):
                self.give_up_place(connection.peer)
                self._tell_peer(connection, up=False)

    def _tell_peer(self, connection: Connection, *, up: bool) -> None:
        info = PeerInfo(connection.peer, up=up, outbound=connection.outbound, address=connection.address)
        try:
            self._events.on_peer(info)
        except Exception:
            log.exception("on_peer failed")

    async def _watch(self) -> None:
        """Find dead connections, and end retired ones."""
        while True:
            due = trio.current_time() + WATCH_S
            await trio.sleep_until(due)
            now = trio.current_time()
            before = self._location.addresses()
            self._location.follow()
            self._location.expire(now)
            if self._location.addresses() != before:
                self._announcer.moved()
            if now - due > WATCH_S:
                continue  # we were stopped ourselves: first read what came meanwhile
            for peer in self._peers:
                for connection in list(peer.connections):
                    self._check(peer, connection, now)

    def _check(self, peer: Peer, connection: Connection, now: float) -> None:
        if connection.pinged_at is not None and now - connection.pinged_at > PONG_S:
            log.debug("%s gave no sign of life", connection.address)
            connection.close()
        elif connection.pinged_at is None and now - connection.heard_at > IDLE_S:
            connection.ping()
        if connection.mux.remote_going and connection.retired_at is None:
            connection.retire()
        if connection.retired_at is not None:
            peer.leave(connection)
            if not connection.mux.streams or now - connection.retired_at > RETIRE_S:
                connection.close()

    # What the node asks for ------------------------------------------------------------------------------------

    async def connect(self, address: str, *, timeout_s: float = 10) -> bytes:
        """Reach the peer at an ip4/ip6 + tcp address; its public key. Does nothing more when it is connected already.

        Raises UsageError for a bad address, LocalError or RemoteError with one sentence otherwise.
        """
        target = parse_address(address)
        if self._nursery is None:
            raise LocalError("The transport is not running.")
        try:
            with trio.fail_after(timeout_s):
                return await self._connect(target)
        except trio.TooSlowError as error:
            raise RemoteError(f"{target.host} port {target.port} did not answer in {timeout_s:g} s.") from error

    async def _connect(self, target: Address) -> bytes:
        key = target.peer
        while key is not None:
            peer = self._peers.get(key)
            if peer is not None and peer.current() is not None:
                return key
            if key not in self._dialling:
                break
            await self._dialling[key].wait()
        if key is None:
            return await self._dial(target)
        done = self._dialling[key] = trio.Event()
        try:
            return await self._dial(target)
        finally:
            del self._dialling[key]
            done.set()

    async def _dial(self, target: Address) -> bytes:
        if target.peer == self.peer:
            raise LocalError("That is this peer's own address.")
        secured = await (self._dial_relayed(target) if target.relay is not None else tcp.dial(target, self._identity))
        if secured.peer == self.peer:
            await trio.aclose_forcefully(secured.socket)
            raise LocalError("That is this peer's own address.")
        connection = await self._adopt(secured, target, outbound=True)
        if connection is None or self._nursery is None:
            raise LocalError("This peer has as many connections as it can hold; disconnect some first.")
        self._start(functools.partial(self._live, connection))
        return connection.peer

    # Through relays --------------------------------------------------------------------------------------------

    async def reserve(self, address: str, *, timeout_s: float = 20) -> float:
        """Take a place at the relay at `address`, or renew it; for how many seconds it holds. Others reach us there
        from then on, until the connection to the relay ends or `give_up_place`.

        Raises UsageError, LocalError or RemoteError.
        """
        target = parse_address(address)
        peer = await self.connect(address, timeout_s=timeout_s)
        connection = self.connection_to(peer)
        if connection is None or connection.is_relayed or target.relay is not None:
            raise RemoteError("There is no direct connection to the relay.")
        place = self._location.places[peer] = await relayed.reserve(connection, target, self.peer)
        self._announcer.moved()
        return place.expires_s - trio.current_time()

    def give_up_place(self, relay: bytes) -> None:
        """Be reached through this relay no more; the relay forgets us by itself."""
        self._location.places.pop(relay, None)
        self._announcer.moved()

    def places(self) -> Mapping[bytes, Place]:
        """The places we hold, by their relay."""
        return dict(self._location.places)

    async def _dial_relayed(self, target: Address) -> tcp.Secured:
        assert target.relay is not None
        if target.peer is None:
            raise RemoteError("An address through a relay has to name the peer.")
        if target.relay == self.peer:
            raise LocalError("That address leads through this peer itself.")
        await self._connect(Address(target.host, target.port, target.relay))
        connection = self.connection_to(target.relay)
        if connection is None:
            raise RemoteError(f"Relay {peer_id(target.relay)} is not connected.")
        stream = await relayed.reach(connection, target.peer)
        return await tcp.secure_relayed(
            relayed.bridge(stream, self._start), self._identity, initiator=True, expect=target.peer
        )

    async def _serve_stop(self, connection: Connection, stream: Stream) -> None:
        """Somebody comes through a relay: a handshake and a connection as from a socket of the relay's address."""
        peer = await relayed.agree(stream, expected=connection.peer in self._location.places)
        at = parse_address(connection.address)
        remote = Address(at.host, at.port, peer, connection.peer)
        socket = relayed.bridge(stream, self._start)
        await tcp.admit(socket, remote, self._identity, self._admission, self._welcome)

    def address_of(self, peer: bytes) -> str | None:
        """The other end of the connection to a peer; None when there is none."""
        connection = self.connection_to(peer)
        return connection.address if connection is not None else None

    def part_with(self, peers: Iterable[bytes]) -> None:
        """These were dialled for a moment only: those of no further use go, while there are many."""
        peers = list(peers)
        worth = self._usefulness(peers)
        for peer in peers:
            found = self._peers.get(peer)
            if found is not None and worth[peer] < WORTH_KEPT and self._admission.outbound > OUTBOUND_KEPT:
                self._close(found)

    async def _dial_for_guest(self, address: str) -> Connection:
        connection = self.connection_to(await self.connect(address))
        if connection is None:
            raise RemoteError("The connection ended as soon as it was made.")
        return connection

    async def disconnect(self, peer: bytes) -> None:
        """Close every connection to the peer; what was queued is lost. on_peer(down) follows."""
        found = self._peers.get(peer)
        if found is not None:
            self._close(found)
        await trio.lowlevel.checkpoint()

    @staticmethod
    def _close(peer: Peer) -> None:
        for connection in list(peer.connections):
            connection.close()

    def send(self, peer: bytes, channel: str, frame: bytes, priority: Priority = Priority.NORMAL) -> bool:
        """Queue a one-way frame; False when it was dropped. Order holds within (peer, channel).

        A peer that leaves 4 MiB of `HIGH` frames unread is disconnected: those are never dropped alone.
        """
        assert len(frame) <= self._channels[channel], "a frame longer than its channel allows"
        found = self._peers.get(peer)
        if found is None:
            return False
        try:
            sent = found.outbox(channel, self._versions[channel]).send(frame, priority)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        if sent is Sent.FULL and priority is Priority.HIGH:
            log.info("peer %s does not read what it must, and is disconnected", peer_id(peer))
            self._close(found)
        return sent is Sent.TAKEN

    async def request(self, peer: bytes, channel: str, frame: bytes, *, timeout_s: float) -> bytes:
        """Ask a peer and wait for its answer. Raises trio.TooSlowError, or RemoteError when there can be none."""
        found = self._peers.get(peer)
        if found is None:
            raise RemoteError(f"Peer {peer_id(peer)} is not connected.")
        with trio.fail_after(timeout_s):
            async with found.requests_out:
                return await self._request(peer, channel, frame)

    async def _request(self, peer: bytes, channel: str, frame: bytes) -> bytes:
        stream = await self.open_stream(peer, channel)
        try:
            await stream.send_all(pack_frame(frame))
            await stream.send_eof()
            return await read_frame(stream, self._requests[channel])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise RemoteError(f"The peer did not answer on {channel}: {error}.") from error
        finally:
            stream.reset()  # nothing, where both ends have ended

    async def open_stream(self, peer: bytes, protocol: str) -> Stream:
        """A stream of `protocol`; negotiation travels with the first data. Raises RemoteError when not connected."""
        await trio.lowlevel.checkpoint_if_cancelled()
        connection = self.connection_to(peer)
        if connection is None:
            raise RemoteError(f"Peer {peer_id(peer)} is not connected.")
        return connection.open_protocol(protocol)

    async def observed_by(self, peer: bytes) -> str | None:
        """The IP address under which a peer sees us, by its identify; None when it does not say."""
        return await self._identify(peer, identify.observed_host, identify.ASK_S)

    async def dialled_back(self, peer: bytes) -> bool | None:
        """Whether a peer that we dialled can dial us; None when it does not say."""
        connection = self.connection_to(peer)
        if connection is None or connection.is_relayed:
            return None
        asked = self._location.asked(await self.observed_by(peer))
        answer, at = await dialback.call_back(connection, self.peer, [str(address) for address in asked])
        reached = [one for one in asked if (one.host, one.port) == at]
        if answer is dialback.Answer.OK and reached:
            self._location.found(reached[0], connection.address, trio.current_time())
            self._announcer.moved()
        return dialback.REACHED.get(answer)

    def told_by(self, peer: bytes) -> tuple[str, ...]:
        """Where a connected peer said last that it is reached, when that changed; nothing when it did not say."""
        found = self._peers.get(peer)
        return found.told if found is not None else ()

    def _take_push(self, where: push.Whereabouts) -> None:
        found = self._peers.get(where.peer)
        if found is not None:
            found.told = where.addresses
        self._told(where)

    async def signed_record(self, peer: bytes) -> bytes:
        """A peer's own signed record of its addresses, unchecked; nothing when it does not give one."""
        return await self._identify(peer, identify.signed_record, identify.RECORD_S) or b""

    async def _identify(self, peer: bytes, read: Callable[[bytes], T], timeout_s: float) -> T | None:
        try:
            with trio.fail_after(timeout_s):
                stream = await self.open_stream(peer, identify.PROTOCOL)
                try:
                    return read(await read_frame(stream, identify.MESSAGE_BYTES_MAX))
                finally:
                    stream.reset()
        except (P2PComputeError, trio.BrokenResourceError, trio.TooSlowError) as error:
            log.debug("identify of %s: %r", peer_id(peer), error)
            return None

    # What peers ask for (mux.Owner) ----------------------------------------------------------------------------

    def speaks(self, protocol: str) -> bool:
        if protocol in self._own or protocol in (circuit.STOP, dialback.PROTOCOL, push.PROTOCOL):
            return True
        if protocol == circuit.HOP:
            return self._relay is not None
        return self._libp2p_host and protocol in GUEST_PROTOCOLS

    async def serve(self, connection: Connection, stream: Stream, protocol: str) -> None:
        if protocol in self._frame_bytes_max:
            await self._serve_channel(connection, stream, protocol)
        elif protocol in self._requests:
            await self._serve_request(connection, stream, protocol)
        elif protocol in self._streams:
            await self._events.on_stream(connection.peer, protocol, stream)
        elif protocol == circuit.STOP:
            await self._serve_stop(connection, stream)
        elif protocol == dialback.PROTOCOL:
            await self._dialback.serve(connection, stream)
        elif protocol == push.PROTOCOL:
            await self._inbox.serve(connection, stream)
        elif protocol == circuit.HOP and self._relay is not None:
            await self._relay.serve(connection, stream)
        else:
            await self._guest.serve(connection, stream, protocol)

    async def _serve_channel(self, connection: Connection, stream: Stream, channel: str) -> None:
        """Frames go to the node right in the connection's reader. A newer stream replaces an older one."""
        key = connection, channel
        older = self._inbound.get(key)
        if older is not None:
            older.reset()
        self._inbound[key] = stream
        connection.flush()
        try:
            stream.set_sink(
                Framer(self._frame_bytes_max[channel], functools.partial(self._deliver, connection.peer, channel))
            )
            await stream.wait_received_end()
        finally:
            if self._inbound.get(key) is stream:
                del self._inbound[key]

    def _deliver(self, peer: bytes, channel: str, frame: bytes) -> None:
        try:
            self._events.on_frame(peer, channel, frame)
        except Exception:
            log.exception("on_frame of %s failed", channel)

    async def _serve_request(self, connection: Connection, stream: Stream, channel: str) -> None:
        peer = self._peers.get(connection.peer)
        if peer is None or peer.requests_in >= REQUESTS_PER_PEER_MAX:
            raise RemoteError("the peer asks for too much at once")
        peer.requests_in += 1
        try:
            with trio.fail_after(REQUEST_READ_S):
                frame = await read_frame(stream, self._requests[channel])
            with trio.fail_after(REQUEST_HANDLER_S) as scope:
                stream.cancel_on_reset(scope)  # nobody waits for the answer any more
                answer = await self._events.on_request(connection.peer, channel, frame)
            if answer is None:
                stream.reset()
            else:
                await stream.send_all(pack_frame(answer))
        finally:
            peer.requests_in -= 1


async def _contained(task: Callable[[], Awaitable[None]]) -> None:
    """Whatever a task for one peer raises against all expectation ends that task, not the transport."""
    try:
        await task()
    except Exception:
        log.exception("a defect ended the work for one peer")
