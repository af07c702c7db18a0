"""What a sans-IO machine takes in and gives out. Drivers run the effects; machines never do.

Order is the contract: a machine returns effects in the order they must happen. A driver lets `Request`, `Reply`,
`Grant`, `RunJob`, `CancelJob`, `Fetch`, `Inspect`, `Locate`, `Compare` and `Redeem` leave strictly in order, and none
of them before every `Persist` that stands ahead of it, in the same list or in an earlier one, is durable: nothing that
was promised can be forgotten by a crash.
`Send`, `Connect`, `Find`, `Serve`, `Disconnect`, `SetTimer` and `Emit` promise nothing and leave at once. Machines
never read a clock, never draw a random number of their own and never block.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from p2pcompute.wire.documents import AnyDocument, open_document


class Now(msgspec.Struct, frozen=True, gc=False):
    """The two clocks, in milliseconds: `mono_ms` for timers, `wall_ms` (Unix time) for expiry of documents."""

    mono_ms: int
    wall_ms: int


class Random(Protocol):
    """The part of random.Random that machines use; seeded in simulation, from the system otherwise."""

    def random(self) -> float: ...
    def randrange(self, start: int, stop: int | None = None, /) -> int: ...
    def randbytes(self, n: int, /) -> bytes: ...
    def shuffle(self, x: list[bytes], /) -> None: ...


class Environment(msgspec.Struct, frozen=True, gc=False):
    """All that a machine may ask of its surroundings besides its arguments."""

    me: bytes
    """This peer's 32-byte ed25519 public key."""
    sign: Callable[[bytes], bytes]
    """Message -> 64-byte signature by `me`."""
    verify: Callable[[bytes, bytes, bytes], bool]
    """(public key, message, signature) -> whether it holds. Never raises."""
    rng: Random
    secret: bytes
    """32 bytes that never leave this peer: the key of commitment salts, so that a crash cannot make a second one."""
    open_document: Callable[[str, bytes, Callable[[bytes, bytes, bytes], bool]], AnyDocument] = open_document
    """As wire.documents.open_document: where many peers live in one process, what was opened once need not be again."""


class Priority(enum.IntEnum):
    """Under pressure a driver drops `LOW` first; `HIGH` is never dropped, only its peer is."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class PeerInfo(msgspec.Struct, frozen=True, gc=False):
    """A change of connection. `peer` is the remote public key; `address` its text form, for logs and rate limits."""

    peer: bytes
    up: bool
    outbound: bool = False
    address: str = ""
    protocols: tuple[str, ...] = ()


class SendOutcome(enum.Enum):
    """What became of a frame that did not simply leave."""

    DROPPED = "dropped"
    """Its receiver reads too slowly for frames of that priority, or is gone."""


class Ruling(enum.Enum):
    """What a receiver makes of a gossip message. REJECT only for faults that need no context (encoding, limits,
    signature): it is held against the sender. Whatever depends on local state or clocks is IGNORE."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


# Outcomes ---------------------------------------------------------------------------------------------------------


class Ok(msgspec.Struct, frozen=True, gc=False):
    """A request was answered; `frame` is the answer, unverified."""

    frame: bytes


class Missed(enum.Enum):
    """Why a request has no answer."""

    TIMEOUT = "timeout"
    CLOSED = "closed"


Outcome = Ok | Missed


# Effects ----------------------------------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True, gc=False):
    """One-way frame on a channel (a protocol id) to each peer."""

    peers: tuple[bytes, ...]
    channel: str
    frame: bytes
    priority: Priority = Priority.NORMAL


class Request(msgspec.Struct, frozen=True, gc=False):
    """Ask `peer`; the driver calls on_response(request_id) exactly once, at the latest after `timeout_ms`.

    With `addresses` the driver may dial the peer first; without, an unconnected peer is Missed.CLOSED at once, so that
    nobody can make us dial what a stranger chose."""

    peer: bytes
    request_id: int
    frame: bytes
    timeout_ms: int
    addresses: tuple[str, ...] = ()


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Answer a request that came in through on_request; None refuses it (the asker sees Missed.CLOSED)."""

    request_id: int
    frame: bytes | None


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Call on_timer(key) at `at_mono_ms`; setting a key again moves it; `None` clears it."""

    key: str
    at_mono_ms: int | None


class Connect(msgspec.Struct, frozen=True, gc=False):
    """Try to reach a peer at one of these addresses. Success and failure show as on_peer, or as nothing."""

    peer: bytes
    addresses: tuple[str, ...]


class Find(msgspec.Struct, frozen=True, gc=False):
    """Look up who serves a topic; on_found(topic, (peer, addresses)...) follows exactly once, maybe with nobody."""

    topic: str


class Serve(msgspec.Struct, frozen=True, gc=False):
    """From now on these are the topics that this peer serves: to be told to whoever looks for them (`Find`)."""

    topics: tuple[str, ...]


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    peer: bytes
    reason: str


class Persist(msgspec.Struct, frozen=True, gc=False):
    """Append a record to the journal; every ordered effect behind it waits until it is durable."""

    record: bytes


class RunJob(msgspec.Struct, frozen=True, gc=False):
    """Run a manifest's kernels. The driver calls on_job(token) exactly once. With `snapshots` the state after every
    step (wire.steps) is kept too; a task with too many or too large ones ends REFUSED."""

    token: str
    manifest: bytes
    snapshots: bool = False


class CancelJob(msgspec.Struct, frozen=True, gc=False):
    token: str


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """Bring these blobs (root, size in bytes) into the local store from `peer`; then on_fetch(token). `addresses` as in
    Request: without them an unconnected peer is never dialled. `others` (peer, addresses) hold the same blobs: a driver
    may use them too, and the blame for a failure is still `peer`'s."""

    token: str
    peer: bytes
    blobs: tuple[tuple[bytes, int], ...]
    timeout_ms: int
    addresses: tuple[str, ...] = ()
    others: tuple[tuple[bytes, tuple[str, ...]], ...] = ()


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Let `peer` read these blobs until `until_wall_ms`; an empty list takes back what was granted under `token`. With
    `leaves_max` no blob is given whole: `peer` may have single leaves of these, so many in all. What it had under
    `token` before counts on. `part`: one more blob, of which it may read so many chunks from its beginning."""

    token: str
    peer: bytes
    roots: tuple[bytes, ...]
    until_wall_ms: int
    leaves_max: int = 0
    part: tuple[bytes, int] | None = None


class Point(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A byte after a step (wire.steps); `buffer` is its place in the manifest."""

    step: int
    buffer: int
    byte: int


class Inspect(msgspec.Struct, frozen=True, gc=False):
    """Recompute the blocks that wrote these points, up to `blocks` different ones in the order of the points, from the
    states that `peer` committed to (`states[i]`: the roots after step i) and serves pieces of; then
    on_inspected(token). Nothing else of its result is believed here. What was fetched under a token is kept while the
    finding is UNAVAILABLE. `leaves_max`: what the peer gives in all; where more is needed, nothing is proven."""

    token: str
    peer: bytes
    manifest: bytes
    states: tuple[tuple[bytes, ...], ...]
    points: tuple[Point, ...]
    blocks: int
    timeout_ms: int
    addresses: tuple[str, ...] = ()
    leaves_max: int = 1 << 62


class Side(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A peer that serves pieces of the blob with this root."""

    peer: bytes
    addresses: tuple[str, ...]
    root: bytes


class Locate(msgspec.Struct, frozen=True, gc=False):
    """Find a byte in which two peers' contents of a buffer (its place in the manifest) differ, by single leaves that
    either proves; then on_located(token): the byte, or None and the peers that did not prove all leaves they were asked
    for."""

    token: str
    manifest: bytes
    buffer: int
    left: Side
    right: Side
    timeout_ms: int


class Compare(msgspec.Struct, frozen=True, gc=False):
    """Say which of these results (roots of all outputs, in the local store) are close to each other by the comparison
    that the manifest names for each output; then on_compared(token)."""

    token: str
    manifest: bytes
    results: tuple[tuple[bytes, ...], ...]


class Redeem(msgspec.Struct, frozen=True, gc=False):
    """Have `amount` micro-credits of value leave for `payee`, by the operator's command; then on_redeemed(key).
    `document` is a cheque to it, `cumulative` what that states, `key` its id: who is told one key twice sends once."""

    key: bytes
    payee: bytes
    amount: int
    cumulative: int
    document: bytes


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Something happened that people, metrics or invariants want to know. `fields` hold plain values only."""

    name: str
    fields: Mapping[str, object]


Effect = (
    Send
    | Request
    | Reply
    | SetTimer
    | Connect
    | Find
    | Serve
    | Disconnect
    | Persist
    | RunJob
    | CancelJob
    | Fetch
    | Inspect
    | Locate
    | Compare
    | Grant
    | Redeem
    | Emit
)


Ordered = Request | Reply | Grant | RunJob | CancelJob | Fetch | Inspect | Locate | Compare | Redeem
"""Effects that wait for the journal; see the top of this module."""


# Jobs -------------------------------------------------------------------------------------------------------------


class JobStatus(enum.IntEnum):
    """How a run of a manifest ended. `OK` and `TRAP` are properties of the task: every honest peer sees the same.
    The others are properties of this machine or of its limits."""

    OK = 0
    TRAP = 1
    TIMEOUT = 2
    REFUSED = 3
    CRASHED = 4
    CANCELLED = 5


class JobOutcome(msgspec.Struct, frozen=True, gc=False):
    """`outputs` gives (Merkle root, size in bytes) of each output buffer in the manifest's order, already in the blob
    store; only for OK. `states`, where snapshots were asked for: of states 1 to n the roots of their buffers in the
    manifest's order. `reason` is one sentence for a person; for a TRAP it names launch, block and thread."""

    status: JobStatus
    outputs: tuple[tuple[bytes, int], ...] = ()
    device_us: int = 0
    reason: str = ""
    states: tuple[tuple[bytes, ...], ...] = ()


class Finding(enum.IntEnum):
    """What an inspection showed. WRONG: a block's bytes are not what it computes. AT_FAULT: a recomputed block traps or
    races, so that nobody can be blamed. UNAVAILABLE: the provider did not prove what was asked for. UNPROVEN: blocks of
    this task cannot stand for it (docs/spec/sampling.md)."""

    CLEAN = 0
    WRONG = 1
    AT_FAULT = 2
    UNAVAILABLE = 3
    UNPROVEN = 4


class InspectOutcome(msgspec.Struct, frozen=True, gc=False):
    """`blocks` were recomputed in `device_us` from `leaves` that were fetched. Where something is wrong: the step,
    block (-1: none writes it) and byte of a buffer, and a sentence."""

    finding: Finding
    blocks: int = 0
    device_us: int = 0
    leaves: int = 0
    step: int = 0
    block: int = 0
    buffer: int = 0
    byte: int = 0
    reason: str = ""
    evidence: tuple[bytes, int] = (b"", 0)
    """Where WRONG can be shown to others: root and size of a wire.fraud.Evidence in the local store."""


class IllegalTransitionError(Exception):
    """A machine was asked for a move its table does not have: a defect of ours, never a peer's doing."""


def follow(table: Mapping[tuple[str, str], str], state: str, event: str) -> str:
    """The next state, by the machine's transition table. Raises IllegalTransitionError when there is none."""
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransitionError(f"no transition from {state} on {event}") from None


def effects(*groups: Sequence[Effect]) -> list[Effect]:
    """The groups one after the other, as one list."""
    return [effect for group in groups for effect in group]
