"""What can be asked of a node, whether it runs in this process or behind its home's control socket.

`LocalNode` serves a `Peer` in this process; control.py carries the same calls over a Unix socket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import trio

from p2pcompute.errors import DecodeError, LocalError, SignatureError, UsageError, VerificationError
from p2pcompute.identity import keys, names
from p2pcompute.identity.delegation import Revocation
from p2pcompute.node import reachability
from p2pcompute.node.peer import Peer
from p2pcompute.protocol.commands import Accuse, Announce, Ban, CloseSession, StopJob, Submit, ValueArrived, Withdraw
from p2pcompute.protocol.equivocation import prove
from p2pcompute.protocol.job import Job, Replica
from p2pcompute.protocol.ledger import Account
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import limits
from p2pcompute.wire.documents import open_document
from p2pcompute.wire.fraud import FraudProof, decode_evidence, encode_fraud
from p2pcompute.wire.manifest import decode_manifest

EVENTS_BUFFERED_MAX: Final = 4_096
"""Events a slow reader may fall behind before it misses some."""
READ_BYTES_MAX: Final = 4 * 2**20


class JobResult(msgspec.Struct, frozen=True):
    """How a job ended. `code` is an exit code, 0 for success; `outputs` (root, size in bytes) in the manifest's order;
    `price` the micro-credits its receipts add up to."""

    job: bytes
    code: int
    error: str
    outputs: tuple[tuple[bytes, int], ...]
    price: int
    receipts: tuple[bytes, ...]


class Event(msgspec.Struct, frozen=True):
    """Something that happened, with plain fields; binary ids as bytes."""

    name: str
    fields: dict[str, object]


class NodeApi(Protocol):
    """The calls."""

    async def put(self, data: bytes | memoryview) -> bytes: ...
    async def submit(self, command: Submit) -> None: ...
    async def stop_job(self, job: bytes) -> None: ...
    async def result(self, job: bytes) -> JobResult: ...
    async def read(self, root: bytes, size: int) -> bytes: ...
    async def status(self) -> dict[str, object]: ...
    async def table(self, name: str) -> list[dict[str, object]]: ...
    async def bundle(self, job: bytes) -> tuple[bytes, ...]: ...
    async def frauds(self, job: bytes) -> tuple[tuple[bytes, int], ...]: ...
    async def act(self, name: str, argument: str) -> str: ...
    def events(self) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Event]]: ...


@dataclasses.dataclass(frozen=True)
class LocalNode:
    """A peer in this process."""

    peer: Peer

    async def put(self, data: bytes | memoryview) -> bytes:
        """Keep a blob; its root."""
        root, _ = await trio.to_thread.run_sync(self.peer.blobs.put, data)
        return root

    async def submit(self, command: Submit) -> None:
        """Take a job on. Its blobs were `put` before; they stay until the job is over."""
        manifest = decode_manifest(command.manifest)
        token = f"job:{command.job.hex()}"
        for root in (manifest.ptx_root, *(b.root for b in manifest.inputs), *(s.root for s in manifest.sources)):
            if not self.peer.blobs.has(root):
                raise UsageError(f"blob {root.hex()[:16]} of task {manifest.name} is not in the store")
            self.peer.blobs.pin(root, token)
        await trio.to_thread.run_sync(self.peer.blobs.put, command.manifest, token)
        addresses = tuple(self.peer.addresses()[: limits.ADDRESSES_MAX])
        self.peer.runtime.command(dataclasses.replace(command, addresses=addresses))

    async def stop_job(self, job: bytes) -> None:
        """Give a job up."""
        self.peer.runtime.command(StopJob(job))

    async def result(self, job: bytes) -> JobResult:
        """Wait until the job is over. Raises UsageError for an unknown one."""
        found = self.peer.core.requester.jobs.get(job)
        if found is None:
            raise UsageError(f"no job {job.hex()} here")
        over = trio.Event()

        def watch(event: Emit) -> None:
            if event.name in ("job.done", "job.failed") and event.fields.get("job") == job:
                over.set()

        stop = self.peer.runtime.listen(watch)
        try:
            while not found.over:
                await over.wait()
        finally:
            stop()
            self.peer.blobs.unpin(f"job:{job.hex()}")
        return _result_of(found)

    async def read(self, root: bytes, size: int) -> bytes:
        """A whole blob. Raises LocalError when it is not here."""
        data = await trio.to_thread.run_sync(self.peer.blobs.read, root)
        if len(data) != size:
            raise LocalError(f"blob {root.hex()[:16]} has {len(data)} bytes, not {size}")
        return data

    async def status(self) -> dict[str, object]:
        """One row of facts about this peer."""
        core, peer = self.peer.core, self.peer
        evidence, load = peer.evidence(), peer.transport.load()
        reached, remedy = reachability.describe(evidence)
        return {
            "peer": names.peer_id(core.post.env.me),
            "did": names.did_key(core.post.env.me),
            "operator": names.did_key(peer.keyring.operator),
            "network": peer.config.network,
            "addresses": list(peer.addresses()),
            "peers": len(core.peers),
            **load,
            "observed": list(evidence.observed),
            "reachability": reached,
            "remedy": remedy,
            "dht_peers": len(peer.routing),
            "gossip": core.gossip_state(),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "files": len(os.listdir("/proc/self/fd")),
            "offers": len(core.book),
            "offering": core.public and not core.provider.closed,
            "paused": peer.paused,
            "remarks": list(peer.remarks),
            "slots": core.provider.terms.slots if core.provider.terms else 0,
            "busy": core.provider.busy_slots,
            "jobs": sum(1 for job in core.requester.jobs if not job.over),
            "blob_bytes": peer.blobs.used_bytes,
        }

    async def table(self, name: str) -> list[dict[str, object]]:
        """Rows for people: peers, book, demands, jobs, ledger, receipts, bans."""
        tables = {
            "peers": self._peers,
            "book": self._book,
            "demands": self._demands,
            "jobs": self._jobs,
            "ledger": self._ledger,
            "receipts": self._receipts,
            "bans": self._bans,
        }
        if name not in tables:
            raise UsageError(f"no table {name!r}; there are {', '.join(tables)}")
        return tables[name]()

    def _peers(self) -> list[dict[str, object]]:
        return [
            {"peer": names.peer_id(i.peer), "address": i.address, "direction": "out" if i.outbound else "in"}
            for i in self.peer.core.peers.values()
        ]

    def _book(self) -> list[dict[str, object]]:
        rows = []
        for listing in self.peer.core.book.listings():
            terms = msgspec.structs.asdict(listing.offer.body)
            del terms["delegation"]
            who = {"peer": names.peer_id(listing.peer), "operator": names.did_key(listing.operator)}
            rows.append({**who, **terms})
        return rows

    def _demands(self) -> list[dict[str, object]]:
        rows = []
        for x in self.peer.core.book.demands:
            body = x.document.body
            who = {"peer": names.peer_id(x.document.signer), "operator": names.did_key(x.operator)}
            needs = {key: value for key, value in msgspec.structs.asdict(body.needs).items() if value}
            facts = {"job": body.tag.hex(), "quantity": body.quantity, "deadline": body.deadline}
            rows.append({**who, **facts, "needs": {k: str(v) for k, v in needs.items()}})
        return rows

    def _jobs(self) -> list[dict[str, object]]:
        return [
            {
                "job": job.name,
                "task": job.manifest.name,
                "state": job.state,
                "error": job.error,
                "doubt": job.doubt,
                "demand": f"resting, {len(job.proposals)} proposals" if job.demand is not None else "",
                "replicas": {names.short(r.peer): r.state for r in job.team},
                "outputs": [[b.name, b.dtype, list(b.shape)] for b in job.manifest.outputs],
            }
            for job in self.peer.core.requester.jobs
        ]

    def _ledger(self) -> list[dict[str, object]]:
        core = self.peer.core
        accounts = dict(core.ledger.accounts())
        peers = dict.fromkeys([*accounts, *sorted(core.provider.leasing.requesters())])
        rows = [(peer, accounts.get(peer, Account()), core.ledger.credit_of(peer)) for peer in peers]
        return [
            {
                "peer": names.peer_id(peer),
                "earned": account.earned,
                "covered": account.covered,
                "owed_to_me": account.owed_to_me,
                "received": account.received,
                "to_come": account.to_come,
                "under_way": account.claimed + core.provider.leasing.at_work(peer),
                "credit_left": max(0, credit - core.ledger.unpaid(peer)),
                "promised": account.promised,
                "settled": account.settled,
                "outstanding": account.outstanding,
            }
            for peer, account, credit in rows
        ]

    def _receipts(self) -> list[dict[str, object]]:
        issued = [(r, "issued") for r in self.peer.core.provider.chain.receipts()]
        held = [(r.receipt, "held") for j in self.peer.core.requester.jobs for r in j.team if r.receipt is not None]
        return [
            {
                "receipt": receipt.id.hex(),
                "role": role,
                "n": receipt.body.n,
                "provider": names.peer_id(receipt.signer),
                "requester": names.peer_id(receipt.body.requester),
                "manifest": receipt.body.manifest.hex(),
                "device_us": receipt.body.device_us,
                "price": receipt.body.price,
            }
            for receipt, role in (*issued, *held)
        ]

    def _bans(self) -> list[dict[str, object]]:
        return [{"operator": names.did_key(o), "reason": r} for o, r in self.peer.core.reputation.banned().items()]

    async def bundle(self, job: bytes) -> tuple[bytes, ...]:
        """Every signed document of a job, for an auditor; all of this peer, in both roles, when `job` is empty."""
        jobs: Sequence[Job] = list(self.peer.core.requester.jobs)
        if job:
            jobs = [j for j in jobs if j.id == job]
            if not jobs:
                raise UsageError(f"no job {job.hex()} here")
        mine = [] if job else self.peer.core.provider.evidence()
        return (*(raw for j in jobs for raw in j.evidence()), *mine)

    async def frauds(self, job: bytes) -> tuple[tuple[bytes, int], ...]:
        """Fraud proofs against the providers of a job that were refuted, as blobs of the store: (root, size)."""
        found = self.peer.core.requester.jobs.get(job)
        if found is None:
            raise UsageError(f"no job {job.hex()} here")
        shown = [r for r in found.team if r.evidence[1]]
        return tuple([await trio.to_thread.run_sync(self._fraud, found, replica) for replica in shown])

    def _fraud(self, job: Job, replica: Replica) -> tuple[bytes, int]:
        assert replica.assignment is not None
        assert replica.commitment is not None
        assert replica.reveal is not None
        blobs = self.peer.blobs
        proof = encode_fraud(
            FraudProof(
                replica.assignment.raw,
                replica.commitment.raw,
                replica.reveal.raw,
                job.manifest_bytes,
                blobs.read(job.manifest.ptx_root),
                decode_evidence(blobs.read(replica.evidence[0])),
            )
        )
        return blobs.put(proof)

    async def act(self, name: str, argument: str) -> str:
        """One of the small commands: connect ADDRESS, ban NAME, pardon NAME, convict KEY REASON,
        accuse HEX HEX, settled NAME MICRO-CREDITS REFERENCE,
        announce HEX, withdraw, close-session HEX; what was done."""
        runtime = self.peer.runtime
        if name == "connect":
            return f"connected to {names.peer_id(await self.peer.transport.connect(argument))}"
        if name == "ban":
            runtime.command(Ban(names.parse_name(argument), "banned by hand"))
            return f"banned {argument}"
        if name == "convict":
            key, _, reason = argument.partition(" ")
            operator = self.peer.core.operator_of(names.parse_name(key))
            runtime.command(Ban(operator, reason))
            return f"banned {names.did_key(operator)}"
        if name == "accuse":
            return self._accuse(argument)
        if name == "pardon":
            runtime.command(Ban(names.parse_name(argument), ""))
            return f"pardoned {argument}"
        if name == "settled":
            peer, amount, reference = argument.split(" ", 2)
            runtime.command(ValueArrived(names.parse_name(peer), int(amount), reference))
            return f"{amount} micro-credits of {peer} are booked"
        if name == "announce":
            runtime.command(Announce(self._revocation(argument)))
            return "the revocation is on its way"
        if name == "close-session":
            runtime.command(CloseSession(bytes.fromhex(argument)))
            return "the session's leases are given back"
        if name == "withdraw":
            runtime.command(Withdraw())
            return "the offer is withdrawn"
        raise UsageError(f"no action {name!r}")

    def _accuse(self, text: str) -> str:
        """Two statements in hex that contradict each other. Raises VerificationError when they do not."""
        core = self.peer.core
        try:
            first, second = map(bytes.fromhex, text.split(" "))
            statement = core.post.open(first)
            operator = core.operator_of(statement.signer)
            self.peer.runtime.command(Accuse(prove(statement, core.post.open(second))))
        except (ValueError, DecodeError, SignatureError) as error:
            raise VerificationError(f"this proves nothing on network {self.peer.config.network!r}: {error}") from error
        return f"banned {names.did_key(operator)}, and the proof is on its way"

    def _revocation(self, text: str) -> bytes:
        """A revocation in hex, verified. Raises UsageError for anything else."""
        try:
            raw = bytes.fromhex(text)
            if isinstance(open_document(self.peer.config.network, raw, keys.verify).body, Revocation):
                return raw
        except (ValueError, DecodeError, SignatureError):
            pass
        raise UsageError(f"this is no revocation for network {self.peer.config.network!r}")

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Everything that happens from now on. A reader that falls too far behind misses some."""
        send, receive = trio.open_memory_channel[Event](EVENTS_BUFFERED_MAX)

        def pass_on(event: Emit) -> None:
            with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
                send.send_nowait(Event(event.name, _plain(event.fields)))

        stop = self.peer.runtime.listen(pass_on)
        try:
            yield receive
        finally:
            stop()


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _result_of(job: Job) -> JobResult:
    receipts = [r.receipt for r in job.team if r.receipt is not None]
    roots = job.answer[1] if job.answer is not None and job.state == "done" else ()
    outputs = tuple((root, b.size_bytes) for root, b in zip(roots, job.manifest.outputs))
    return JobResult(
        job=job.id,
        code=job.code,
        error=job.error,
        outputs=outputs,
        price=sum(r.body.price for r in receipts),
        receipts=tuple(r.id for r in receipts),
    )
