"""One peer: all machines composed. The same object runs on libp2p and in the simulator.

The core opens every document once, at this border, and hands machines only what is well-formed, in force and signed by
the peer that sent it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.protocol import commands as c
from p2pcompute.protocol import records, sync
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import Budget
from p2pcompute.protocol.equivocation import Witness
from p2pcompute.protocol.lease import CAPS, Caps
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import (
    Connect,
    Effect,
    Emit,
    Environment,
    InspectOutcome,
    JobOutcome,
    Now,
    Ok,
    Outcome,
    PeerInfo,
    Persist,
    Reply,
    Ruling,
    SendOutcome,
    SetTimer,
)
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.provider import Provider
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.protocol.requester import Requester
from p2pcompute.protocol.sync import Sync
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument, UnknownDocumentError

NEIGHBOURS_MIN: Final = 6
"""With fewer connections, dial providers from the book: the mesh's own degree."""
NEIGHBOURS_MS: Final = 5_000
DIALS_AT_ONCE: Final = 2
GOSSIP_SCORE_PER_OFFER: Final = 30.0
"""Twice the most that deliveries can earn (gossip.score.params, topic_cap)."""
BANNED_SCORE: Final = -200.0
"""P5 of a peer whose operator is banned here: below the threshold under which nothing of it is read."""
DEMERITS_SCORE_MAX: Final = 15
"""P5 of an operator that was often silent: no more than good deliveries outweigh."""
OFFER_RENEW_MS: Final = limits.OFFER_LIFETIME_MS // 2
RPC_CHANNEL: Final = "/p2pcompute/rpc/1"


class GossipPort(Protocol):
    """The part of the gossip machine the core uses."""

    def start(self, now: Now) -> list[Effect]: ...
    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]: ...
    def on_frame(self, now: Now, peer: bytes, frame: bytes, channel: str) -> list[Effect]: ...
    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]: ...
    def on_record(self, now: Now, peer: bytes, envelope: bytes) -> list[Effect]: ...
    def on_timer(self, now: Now, key: str) -> list[Effect]: ...
    def subscribe(self, now: Now, topic: str) -> list[Effect]: ...
    def publish(self, now: Now, topic: str, data: bytes) -> list[Effect]: ...
    def score(self, peer: bytes) -> float: ...
    def state(self) -> dict[str, object]: ...


def offers_topic(network: str, engine: str = "any", region: str = "any", bucket: int = 0) -> str:
    """Where offers of a resource class, region and bucket are spread."""
    return f"/p2pcompute/{network}/offers/{engine}/{region}/{bucket}"


class PeerCore:
    """All state of one peer. Every method returns effects in the order they must happen."""

    def __init__(
        self,
        env: Environment,
        gossip: GossipPort,
        *,
        network: str,
        epoch: bytes,
        delegation: bytes,
        credit: int,
        caps: Caps = CAPS,
    ) -> None:
        """`epoch`: 8 bytes of this home. `delegation`: the operator's document for this key, or empty. `credit`:
        micro-credits of unpaid receipts carried for one requester. `caps`: what may be held without work."""
        self.post = Post(env, network, epoch, delegation)
        self.book = Book(self.post)
        self.ledger = Ledger(credit)
        self.reputation = Reputation()
        self.provider = Provider(self.post, self.ledger, caps)
        self.requester = Requester(self.post, self.book, self.ledger, self.reputation, self._announce)
        self._witness = Witness()
        self.peers: dict[bytes, PeerInfo] = {}
        self._gossip = gossip
        self._budget = Budget()
        self._sync = Sync(self.post, self.book, self._budget)
        self._topic = offers_topic(network)
        self._heard: list[Effect] = []

    @property
    def topics(self) -> tuple[str, ...]:
        """The gossip topics that this peer serves."""
        return (self._topic,)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, now: Now, journal: Iterable[bytes]) -> list[Effect]:
        """Replay the journal, then take up the work it left. Call once, before anything else."""
        proofs: list[AnyDocument] = []
        for data in journal:
            record = records.decode_record(data)
            self.requester.jobs.replay(record)
            self.provider.replay(record)
            if isinstance(record, records.Assigned):
                self._witness.see(self.post.open(record.reservation))
            elif isinstance(record, records.Proved):
                proofs.append(self.post.open(record.proof))
        return [
            *self._gossip.start(now),
            *self._gossip.subscribe(now, self._topic),
            *(effect for proof in proofs for effect in self._announce(now, proof)),
            *self._sync.start(now),
            SetTimer("core.neighbours", now.mono_ms + NEIGHBOURS_MS),
            *self.provider.resume(now),
            *self.requester.resume(now),
        ]

    def on_command(self, now: Now, command: c.Command) -> list[Effect]:
        """The owner wants something."""
        match command:
            case c.Submit():
                return self.requester.submit(now, command)
            case c.StopJob():
                return self.requester.cancel(now, command.job)
            case c.CloseSession():
                return self.requester.sessions.close(now, command.session)
            case c.Publish():
                self.provider.open_for_business(command.terms)
                self.provider.leasing.proposer.floor = command.floor
                return self._publish_offer(now)
            case c.Withdraw():
                if command.drain:
                    self.provider.drain()
                return self._withdraw_offer(now)
            case c.Announce():
                ruling, _, events = self.book.judge(now, command.document)
                spread = self._gossip.publish(now, self._topic, command.document) if ruling is Ruling.ACCEPT else []
                return [*events, *spread]
            case c.Ban():
                return self.requester.ban(command.operator, command.reason)

    def _publish_offer(self, now: Now) -> list[Effect]:
        terms = self.provider.terms
        if terms is None or self.provider.draining:
            return []
        offer = self.post.write(now, terms, lifetime_ms=limits.OFFER_LIFETIME_MS)
        return [*self._announce(now, offer), SetTimer("core.offer", now.mono_ms + OFFER_RENEW_MS)]

    def _withdraw_offer(self, now: Now) -> list[Effect]:
        cancel = self.post.write(now, d.Cancel(), lifetime_ms=limits.OFFER_LIFETIME_MS)
        return [*self._announce(now, cancel), SetTimer("core.offer", None)]

    def _announce(self, now: Now, document: AnyDocument) -> list[Effect]:
        _, _, events = self.book.judge(now, document.raw)
        return [*events, *self._gossip.publish(now, self._topic, document.raw)]

    # -- the mesh ----------------------------------------------------------------------------------------------------

    def judge_gossip(self, now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
        """The gossip machine's validator: what is accepted is already in the book."""
        if topic != self._topic:
            return Ruling.IGNORE
        ruling, _, events = self.book.judge(now, data)
        self._heard += events
        return ruling

    def deliver_gossip(self, now: Now, topic: str, data: bytes, peer: bytes) -> list[Effect]:
        """What follows from an accepted message: the events of taking it into the book."""
        heard, self._heard = self._heard, []
        return heard

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        """A connection came up or went down."""
        out = self._gossip.on_peer(now, info)
        out += self._sync.on_peer(now, info.peer, up=info.up, outbound=info.outbound)
        if info.up:
            self.peers[info.peer] = info
            out += self.provider.on_peer_up(now, info.peer)
        else:
            self.peers.pop(info.peer, None)
        return out + self.requester.on_peer(now, info.peer, info.up)

    def on_frame(self, now: Now, peer: bytes, channel: str, frame: bytes) -> list[Effect]:
        """A one-way message: gossip."""
        return self._gossip.on_frame(now, peer, frame, channel)

    def on_record(self, now: Now, peer: bytes, envelope: bytes) -> list[Effect]:
        """A neighbour's signed peer record, unchecked; empty when it has none."""
        return self._gossip.on_record(now, peer, envelope)

    def on_sent(self, now: Now, peer: bytes, outcome: SendOutcome) -> list[Effect]:
        """A one-way frame of ours did not leave."""
        return self._gossip.on_sent(now, peer, outcome)

    def usefulness(self, peers: Iterable[bytes]) -> dict[bytes, float]:
        """What a connection to each peer is worth to us, when some must go: work between us, then an offer, then how it
        gossips: good gossip weighs half an offer at most, bad gossip undoes one."""
        partners = self.provider.partners() | self.requester.jobs.partners()
        return {
            peer: 2.0 * (peer in partners)
            + (self.book.get(peer) is not None)
            + min(max(self._gossip.score(peer) / GOSSIP_SCORE_PER_OFFER, -1.0), 0.5)
            for peer in peers
        }

    def opinion(self, peer: bytes) -> float:
        """What our own dealings say of a peer, as a part of its gossip score (P5): demerits of its operator count
        against it, a wrong result ends its part in the mesh."""
        listing = self.book.get(peer)
        demerits = self.reputation.demerits(listing.operator if listing is not None else peer)
        return BANNED_SCORE if demerits < 0 else -float(min(demerits, DEMERITS_SCORE_MAX))

    def gossip_state(self) -> dict[str, object]:
        """For people: peers in the mesh of each topic, and totals of messages since the start."""
        return self._gossip.state()

    def _seek_neighbours(self, now: Now) -> list[Effect]:
        out: list[Effect] = [*self.book.expire(now), SetTimer("core.neighbours", now.mono_ms + NEIGHBOURS_MS)]
        out += self.provider.leasing.propose(now, self.book)
        if len(self.peers) >= NEIGHBOURS_MIN:
            return out
        me = self.post.env.me
        strangers = [x.peer for x in self.book.listings() if x.peer not in self.peers and x.peer != me]
        self.post.env.rng.shuffle(strangers)
        for peer in strangers[:DIALS_AT_ONCE]:
            listing = self.book.get(peer)
            if listing is not None:
                out.append(Connect(peer, listing.offer.body.addresses))
        return out

    # -- requests ----------------------------------------------------------------------------------------------------

    def on_request(self, now: Now, peer: bytes, request_id: int, frame: bytes) -> list[Effect]:
        """A request of a connected peer. What is malformed, not in force or signed by another is refused."""
        if not self._budget.spend(now, peer):
            return [Reply(request_id, None)]
        if sync.is_sync(frame):
            answer, effects = self._sync.answer(now, peer, frame)
            return [*effects, Reply(request_id, answer)]
        try:
            document = self.post.open(frame)
        except (DecodeError, SignatureError) as error:
            return [Emit("peer.fault", {"peer": peer, "reason": str(error)}), Reply(request_id, None)]
        if document.signer != peer or not document.alive(now.wall_ms):
            return [Reply(request_id, None)]
        if isinstance(document.body, d.Commitment | d.Failure):
            return self.requester.on_request(now, peer, request_id, document)
        if isinstance(document.body, d.Proposal):
            return self.requester.on_proposal(now, request_id, document)
        if type(document.body) in self.provider.handlers:
            heard = self._hear(now, document) if isinstance(document.body, d.Probe) else []
            return [*self.provider.on_request(now, peer, request_id, document), *heard]
        return [Reply(request_id, None)]

    def on_response(self, now: Now, request_id: int, outcome: Outcome) -> list[Effect]:
        """The answer to one of our requests, or that there is none."""
        tag = self.post.answered(request_id)
        if tag is None:
            return []
        if tag.machine == "core":
            return self._sync.on_response(now, tag, outcome)
        if tag.machine == "provider":
            return self.provider.on_response(now, tag, outcome)
        answer = None
        if isinstance(outcome, Ok) and outcome.frame:
            try:
                answer = self.post.open(outcome.frame)
            except UnknownDocumentError:
                return self.requester.on_response(now, tag, outcome, None)
            except (DecodeError, SignatureError) as error:
                fault = Emit("peer.fault", {"peer": tag.peer, "reason": str(error)})
                return [fault, *self.requester.on_response(now, tag, outcome, None)]
            if answer.signer != tag.peer or not answer.alive(now.wall_ms):
                answer = None
        told = self._see(now, answer) if answer is not None and isinstance(answer.body, d.Reservation) else []
        return [*told, *self.requester.on_response(now, tag, outcome, answer)]

    # -- equivocations -----------------------------------------------------------------------------------------------

    def _hear(self, now: Now, probe: AnyDocument) -> list[Effect]:
        """Look at the reservations that a probe shows. Each costs a signature check, and the sender's budget."""
        out: list[Effect] = []
        for raw in probe.body.seen:
            if not self._budget.spend(now, probe.signer):
                break
            try:
                reservation = self.post.open(raw)
            except (DecodeError, SignatureError) as error:
                return [*out, Emit("peer.fault", {"peer": probe.signer, "reason": str(error)})]
            if isinstance(reservation.body, d.Reservation):
                out += self._see(now, reservation)
        return out

    def _see(self, now: Now, reservation: AnyDocument) -> list[Effect]:
        """When a reservation shows that its signer promised a slot twice, everybody is told, once, and we deal with its
        operator no more."""
        proof = self._witness.see(reservation) if reservation.signer != self.post.env.me else None
        if proof is None or self.book.is_convicted(reservation.signer):
            return []
        listing = self.book.get(reservation.signer)
        operator = listing.operator if listing is not None else reservation.signer
        document = self.post.write(now, proof, lifetime_ms=limits.PROOF_LIFETIME_MS)
        durable = Persist(records.encode_record(records.Proved(document.raw)))
        return [durable, *self.requester.ban(operator, "promised one slot twice"), *self._announce(now, document)]

    # -- the rest ----------------------------------------------------------------------------------------------------

    def on_timer(self, now: Now, key: str) -> list[Effect]:
        """A timer set by SetTimer is due."""
        machine, _, rest = key.partition(".")
        if machine == "gossip":
            return self._gossip.on_timer(now, key)
        if key == sync.TIMER:
            return self._sync.on_timer(now)
        if key == "core.neighbours":
            return self._seek_neighbours(now)
        if key == "core.offer":
            return self._publish_offer(now)
        what, _, name = rest.partition(":")
        if machine == "provider":
            return self.provider.on_timer(now, name)
        return self.requester.on_timer(now, what, name)

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        """A RunJob ended."""
        return self.provider.on_job(now, token, outcome)

    def on_inspected(self, now: Now, token: str, outcome: InspectOutcome) -> list[Effect]:
        """An Inspect ended."""
        return self.requester.on_inspected(now, token, outcome)

    def on_compared(self, now: Now, token: str, pairs: tuple[tuple[int, int], ...] | None) -> list[Effect]:
        """A Compare ended: which results are close to each other; None when that could not be said."""
        return self.requester.on_compared(now, token, pairs)

    def on_fetch(self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str = "") -> list[Effect]:
        """A Fetch ended. `blobs`: the bytes of a manifest, empty for other fetches, None when it failed."""
        machine = self.requester if token.startswith(("outputs:", "compare:")) else self.provider
        return machine.on_fetch(now, token, blobs, reason)
