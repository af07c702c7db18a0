"""One peer: all machines composed. The same object runs on libp2p and in the simulator.

The core opens every document once, at this border, and hands machines only what is well-formed, in force and signed by
the peer that sent it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Final, Protocol

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.delegation import Revocation
from p2pcompute.protocol import commands as c
from p2pcompute.protocol import records, sync
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import Budget
from p2pcompute.protocol.candidates import Candidates, Where, is_pull
from p2pcompute.protocol.equivocation import OFFENCES, Witness, contradict, offender_named, offender_of, prove
from p2pcompute.protocol.lease import CAPS, Caps
from p2pcompute.protocol.ledger import CREDIT, Credit, Ledger
from p2pcompute.protocol.machine import (
    Connect,
    Effect,
    Emit,
    Environment,
    Find,
    InspectOutcome,
    JobOutcome,
    Now,
    Ok,
    Outcome,
    PeerInfo,
    Reply,
    Ruling,
    SendOutcome,
    Serve,
    SetTimer,
)
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.provider import Provider
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.protocol.requester import Requester
from p2pcompute.protocol.settlement import Redeemer
from p2pcompute.protocol.shards import WHOLE, Membership, Shard, heard_depth, is_full, parse_topic, shard_of
from p2pcompute.protocol.shards import topic_of as offers_topic
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

    news: dict[bytes, None]

    def subscribe(self, now: Now, topic: str) -> list[Effect]: ...
    def unsubscribe(self, now: Now, topic: str) -> list[Effect]: ...
    def topics_of(self, peer: bytes) -> Collection[str]: ...
    def take_news(self) -> list[bytes]: ...
    def publish(self, now: Now, topic: str, data: bytes) -> list[Effect]: ...
    def score(self, peer: bytes) -> float: ...
    def state(self) -> dict[str, object]: ...


_shard_of_topic = functools.lru_cache(maxsize=65_536)(parse_topic)


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
        credit: Credit = CREDIT,
        caps: Caps = CAPS,
        settle_at: int = 0,
        redeems: bool = False,
        depth: int = 0,
    ) -> None:
        """`epoch`: 8 bytes of this home. `delegation`: the operator's document for this key, or empty. `credit`: what
        is risked on requesters. `caps`: what may be held without work. `settle_at`: micro-credits of cheques between
        this peer and another from which on value is to leave; 0: never. `redeems`: whether this peer's operator has a
        command for that. `depth`: of the network, as far as it is known from before."""
        self.post = Post(env, network, epoch, delegation)
        self.book = Book(self.post)
        self.ledger = Ledger(credit, settle_at)
        self.redeemer = Redeemer(self.post, self.ledger, settle_at, redeems=redeems)
        self.reputation = Reputation()
        self.provider = Provider(self.post, self.ledger, caps)
        self._witness = Witness()
        self.peers: dict[bytes, PeerInfo] = {}
        self._gossip = gossip
        self._budget = Budget()
        self._membership = Membership(env.me, depth)
        self.book.keep(self._membership.shards)
        self._homes: dict[bytes, Shard] = {}
        """Neighbours that said what they subscribe to, and where that puts them."""
        self._shard_topics = {offers_topic(network, shard): shard for shard in self._membership.shards}
        """The topics that we subscribe to, that of our home last."""
        self._sync = Sync(self.post, self.book, self._budget, self._shared, lambda: self._membership.home)
        where = Where(lambda: self._membership.home, self._heard_depth, self._mates)
        self._candidates = Candidates(self.post, self.book, self._budget, where)
        self.requester = Requester(
            self.post,
            self.book,
            self.ledger,
            self.reputation,
            self._candidates,
            self._announce_own,
            self.redeemer,
        )
        self._heard: list[Effect] = []
        self.public = False
        """Whether the owner wants the offer seen by all; not so while closed."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The gossip topics that this peer serves."""
        return tuple(self._shard_topics)

    @property
    def home(self) -> Shard | None:
        """The shard of the book that this peer keeps; None when it keeps none."""
        return self._membership.home

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, now: Now, journal: Iterable[bytes]) -> list[Effect]:
        """Replay the journal, then take up the work it left. Call once, before anything else."""
        proofs: list[AnyDocument] = []
        for data in journal:
            record = records.decode_record(data)
            self.replay(record)
            if isinstance(record, records.Assigned):
                self._witness.see(self.post.open(record.reservation))
            elif isinstance(record, records.ReceiptHeld):
                self._witness.see(self.post.open(record.receipt))
            elif isinstance(record, records.Proved):
                proofs.append(self.post.open(record.proof))
        return [
            *self._gossip.start(now),
            *(effect for topic in self.topics for effect in self._gossip.subscribe(now, topic)),
            Serve(self.topics),
            *(effect for proof in proofs for effect in self._announce(now, proof, _subject_of(proof))),
            *self._sync.start(now),
            SetTimer("core.neighbours", now.mono_ms + NEIGHBOURS_MS),
            *self.provider.resume(now),
            *self.redeemer.resume(),
            *self.requester.resume(now),
        ]

    def replay(self, record: records.AnyRecord) -> None:
        """Let all machines rebuild from one journal record."""
        self.requester.jobs.replay(record)
        self.provider.replay(record)
        self.redeemer.replay(record)

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
                self.public = True
                return [*self._review(now), *self._publish_offer(now)]
            case c.Withdraw():
                if command.drain:
                    self.provider.drain()
                self.public = False
                return self._withdraw_offer(now)
            case c.Pause():
                self.provider.leasing.paused = command.paused
                return self._withdraw_offer(now) if command.paused else self._publish_offer(now)
            case c.Announce():
                ruling, document, events = self.book.judge(now, command.document)
                if ruling is not Ruling.ACCEPT or document is None:
                    return [*events]
                return [*events, *self._spread(now, document, _subject_of(document))]
            case c.Accuse():
                return self._accuse_by(now, command.proof)
            case c.ValueArrived():
                return self.redeemer.receive(command)
            case c.Ban():
                return self.requester.ban(command.operator, command.reason)

    def _publish_offer(self, now: Now) -> list[Effect]:
        terms = self.provider.terms
        if terms is None or self.provider.closed or not self.public:
            return []
        offer = self.post.write(now, terms, lifetime_ms=limits.OFFER_LIFETIME_MS)
        return [*self._announce(now, offer, offer.signer), SetTimer("core.offer", now.mono_ms + OFFER_RENEW_MS)]

    def _withdraw_offer(self, now: Now) -> list[Effect]:
        cancel = self.post.write(now, d.Cancel(), lifetime_ms=limits.OFFER_LIFETIME_MS)
        return [*self._announce(now, cancel, cancel.signer), SetTimer("core.offer", None)]

    def _announce(self, now: Now, document: AnyDocument, subject: bytes) -> list[Effect]:
        _, _, events = self.book.judge(now, document.raw)
        return [*events, *self._spread(now, document, subject)]

    def _announce_own(self, now: Now, document: AnyDocument) -> list[Effect]:
        return self._announce(now, document, _subject_of(document))

    def _spread(self, now: Now, document: AnyDocument, subject: bytes) -> list[Effect]:
        """To the shards that the key it is about may be in: ours, as far as it is in them, and where it is now as far
        as neighbours tell."""
        network = self.post.network
        topics = dict.fromkeys(topic for topic, shard in self._shard_topics.items() if shard.holds(subject))
        if subject != self.post.env.me:
            topics[offers_topic(network, shard_of(subject, self._heard_depth()))] = None
        elif isinstance(document.body, d.Offer) and self._membership.home is not None:
            topics = dict.fromkeys([offers_topic(network, self._membership.home)])
        return [effect for topic in topics for effect in self._gossip.publish(now, topic, document.raw)]

    # -- shards ------------------------------------------------------------------------------------------------------

    def _home_of(self, peer: bytes) -> Shard | None:
        """Where a neighbour is, as far as it said: where it subscribed last."""
        return self._homes.get(peer)

    def _learn_home(self, peer: bytes) -> None:
        network, topics = self.post.network, self._gossip.topics_of(peer)
        shards = [shard for topic in topics if (shard := _shard_of_topic(network, topic)) is not None]
        if shards:
            self._homes[peer] = shards[-1]
        else:
            self._homes.pop(peer, None)

    def _shared(self, peer: bytes) -> Shard | None:
        """The shard that a neighbour and we keep in step. Who has not said yet where it is may have the whole book."""
        home = self._membership.home
        return home if home is not None and (self._home_of(peer) or WHOLE) == home else None

    def _mates(self, shard: Shard) -> list[bytes]:
        return [peer for peer in self.peers if self._home_of(peer) == shard]

    def _heard_depth(self) -> int:
        return heard_depth(home for peer in self.peers if (home := self._home_of(peer)) is not None)

    def _review(self, now: Now) -> list[Effect]:
        """Look whether this is the place for us, and go where it is."""
        member, sells = self._membership, self.provider.terms is not None and not self.provider.closed
        before, held = member.home, self.book.count(member.home) if member.home is not None else 0
        if not member.review(now.mono_ms, sells=sells, held=held, depth=self._heard_depth()):
            return []
        topics = {
            offers_topic(self.post.network, shard): shard
            for shard in (*member.leaving, member.home)
            if shard is not None
        }
        self.book.keep(() if member.home is None else (member.home,))
        out: list[Effect] = []
        for topic in topics:
            if topic not in self._shard_topics:
                out += self._gossip.subscribe(now, topic)
        for topic in self._shard_topics:
            if topic not in topics:
                out += self._gossip.unsubscribe(now, topic)
        self._shard_topics = topics
        out.append(Serve(self.topics))
        if member.home == before:
            return out
        out.append(Emit("shard.moved", {"depth": member.home.depth if member.home else -1, "held": held}))
        if sells:
            out += self._publish_offer(now)
        return [*out, *self._seek_mates()]

    def _on_news(self, now: Now) -> list[Effect]:
        """Neighbours said what they subscribe to: we may learn where we belong; whom we dialled we compare with."""
        told = [peer for peer in self._gossip.take_news() if peer in self.peers]
        for peer in told:
            self._learn_home(peer)
        out = self._review(now)
        for peer in told:
            if self.peers[peer].outbound and self._membership.home not in (None, WHOLE):
                out += self._sync.on_shared(peer)
        return out

    def _seek_mates(self) -> list[Effect]:
        """Neighbours in our shard: those of the book, else whoever the DHT names."""
        home = self._membership.home
        missing = NEIGHBOURS_MIN - len(self._mates(home)) if home is not None and home != WHOLE else 0
        if missing <= 0 or home is None:
            return []
        known = [x.peer for x in self.book.listings() if x.peer not in self.peers and home.holds(x.peer)]
        known = [peer for peer in known if peer != self.post.env.me]
        self.post.env.rng.shuffle(known)
        if not known:
            return [Find(offers_topic(self.post.network, home))]
        listings = [x for peer in known[:missing] if (x := self.book.get(peer)) is not None]
        return [Connect(x.peer, x.offer.body.addresses) for x in listings]

    def on_found(self, now: Now, topic: str, peers: tuple[tuple[bytes, tuple[str, ...]], ...]) -> list[Effect]:
        """The DHT's answer to a Find."""
        out, over = self._candidates.on_found(topic, peers)
        for job in over:
            out += self.requester.on_timer(now, "rest", job.hex())
        home = self._membership.home
        if home is not None and topic == offers_topic(self.post.network, home):
            missing = max(0, NEIGHBOURS_MIN - len(self._mates(home)))
            strangers = [(p, where) for p, where in peers if p not in self.peers and p != self.post.env.me]
            out += [Connect(peer, where) for peer, where in strangers[:missing]]
        return out

    # -- the mesh ----------------------------------------------------------------------------------------------------

    def judge_gossip(self, now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
        """The gossip machine's validator: what is accepted is already in the book."""
        shard = self._shard_topics.get(topic)
        if shard is None:
            return Ruling.IGNORE
        ruling, document, events = self.book.judge(now, data)
        self._heard += events
        if shard.depth and document is not None and not shard.holds(_subject_of(document)):
            return Ruling.REJECT
        return ruling

    def deliver_gossip(self, now: Now, topic: str, data: bytes, peer: bytes) -> list[Effect]:
        """What follows from an accepted message: the events of taking it into the book."""
        heard, self._heard = self._heard, []
        home = self._membership.home
        if home is not None and is_full(self.book.count(home)):
            heard += self._review(now)
        return self._believe(heard)

    def on_peer(self, now: Now, info: PeerInfo) -> list[Effect]:
        """A connection came up or went down."""
        out = self._gossip.on_peer(now, info)
        out += self._sync.on_peer(now, info.peer, up=info.up, outbound=info.outbound)
        if info.up:
            self.peers[info.peer] = info
            out += self.provider.on_peer_up(now, info.peer)
        else:
            self.peers.pop(info.peer, None)
            self._homes.pop(info.peer, None)
        return out + self.requester.on_peer(now, info.peer, info.up)

    def on_frame(self, now: Now, peer: bytes, channel: str, frame: bytes) -> list[Effect]:
        """A one-way message: gossip."""
        out = self._gossip.on_frame(now, peer, frame, channel)
        return [*out, *self._on_news(now)] if self._gossip.news else out

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
        against it, debts that use its credit up as much as many of them; a wrong result ends its part in the mesh."""
        demerits = self.reputation.demerits(self.operator_of(peer))
        demerits += DEMERITS_SCORE_MAX * self.ledger.is_overdue(peer) if demerits >= 0 else 0
        return BANNED_SCORE if demerits < 0 else -float(min(demerits, DEMERITS_SCORE_MAX))

    def gossip_state(self) -> dict[str, object]:
        """For people: peers in the mesh of each topic, and totals of messages since the start."""
        return self._gossip.state()

    def _seek_neighbours(self, now: Now) -> list[Effect]:
        self.reputation.fade(now.mono_ms)
        out: list[Effect] = [*self.book.expire(now), SetTimer("core.neighbours", now.mono_ms + NEIGHBOURS_MS)]
        out += self.provider.leasing.propose(now, self.book)
        out += self._review(now)
        out += self._seek_mates()
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
            return [*self._believe(effects), Reply(request_id, answer)]
        if is_pull(frame):
            return [Reply(request_id, self._candidates.answer(now, peer, frame))]
        try:
            document = self.post.open(frame)
        except (DecodeError, SignatureError) as error:
            return [Emit("peer.fault", {"peer": peer, "reason": str(error)}), Reply(request_id, None)]
        if document.signer != peer or not document.alive(now.wall_ms):
            return [Reply(request_id, None)]
        if isinstance(document.body, d.Commitment | d.Failure):
            found = self.requester.jobs.find(document.body.assignment, document.signer)
            first = found[1].commitment if found is not None else None
            accused: list[Effect] = []
            if found is not None and first is not None and contradict(first, document):
                accused = self._accuse(now, prove(first, document), document, found[1].operator)
            return [*accused, *self.requester.on_request(now, peer, request_id, document)]
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
            return self._believe(self._sync.on_response(now, tag, outcome))
        if tag.machine == "candidates":
            events, all_came = self._candidates.on_response(now, tag, outcome)
            events = self._believe(events)
            return [*events, *self.requester.on_timer(now, "rest", tag.subject.hex())] if all_came else events
        machine = self.provider if tag.machine == "provider" else self.requester
        answer = None
        if isinstance(outcome, Ok) and outcome.frame:
            try:
                answer = self.post.open(outcome.frame)
            except UnknownDocumentError:
                return machine.on_response(now, tag, outcome, None)
            except (DecodeError, SignatureError) as error:
                fault = Emit("peer.fault", {"peer": tag.peer, "reason": str(error)})
                return [fault, *machine.on_response(now, tag, outcome, None)]
            if answer.signer != tag.peer or not answer.alive(now.wall_ms):
                answer = None
        told = self._see(now, answer) if answer is not None else []
        return [*told, *machine.on_response(now, tag, outcome, answer)]

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

    def _see(self, now: Now, statement: AnyDocument) -> list[Effect]:
        """Look whether a reservation or receipt contradicts one that we were given before."""
        proof = self._witness.see(statement) if statement.signer != self.post.env.me else None
        if proof is None or self.book.is_convicted(statement.signer):  # it may be pardoned, and shown again
            return []
        return self._accuse(now, proof, statement, self.operator_of(statement.signer))

    def _accuse_by(self, now: Now, proof: d.EquivocationProof) -> list[Effect]:
        """The owner brings a proof. Raises DecodeError or SignatureError when it proves nothing."""
        offender_of(self.post, proof)
        statement = self.post.open(proof.first)
        return self._accuse(now, proof, statement, self.operator_of(statement.signer))

    def operator_of(self, key: bytes) -> bytes:
        """Who is behind a key, as far as its offer says; else the key itself."""
        listing = self.book.get(key)
        return listing.operator if listing is not None else key

    def _accuse(self, now: Now, proof: d.EquivocationProof, statement: AnyDocument, operator: bytes) -> list[Effect]:
        """We deal no more with the operator of one who stated two things of which one is not true, and everybody is
        told, once."""
        banned = self._shun(operator, OFFENCES[type(statement.body)])
        if self.book.is_convicted(statement.signer):
            return banned
        document = self.post.write(now, proof, lifetime_ms=limits.PROOF_LIFETIME_MS)
        durable = persist(records.Proved(document.raw))
        return [durable, *banned, *self._announce(now, document, statement.signer)]

    def _believe(self, effects: list[Effect]) -> list[Effect]:
        """A proof of others that holds is as good as ours: the operator of the convicted key is banned, if known."""
        banned: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Emit) and effect.name == "key.convicted" and effect.fields["operator"] is not None:
                operator = effect.fields["operator"]
                assert isinstance(operator, bytes)
                banned += self._shun(operator, "one of its keys is convicted of contradicting itself")
        return [*effects, *banned]

    def _shun(self, operator: bytes, reason: str) -> list[Effect]:
        return self.requester.ban(operator, reason) if self.reputation.demerits(operator) >= 0 else []

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
        if machine == "settlement":
            return self.redeemer.on_timer(bytes.fromhex(rest))
        what, _, name = rest.partition(":")
        if machine == "provider":
            return self.provider.on_timer(now, name)
        return self.requester.on_timer(now, what, name)

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        """A RunJob ended: a requester's run, or one of our own tasks' that is computed here as well."""
        if token.startswith("own:"):
            return self.requester.on_own_run(now, token, outcome)
        return self.provider.on_job(now, token, outcome)

    def on_inspected(self, now: Now, token: str, outcome: InspectOutcome) -> list[Effect]:
        """An Inspect ended."""
        return self.requester.on_inspected(now, token, outcome)

    def on_located(self, now: Now, token: str, byte: int | None, silent: tuple[bytes, ...] = ()) -> list[Effect]:
        """A Locate ended: a byte in which both sides differ, or None and who did not prove its leaves."""
        return self.requester.on_located(now, token, byte, silent)

    def on_redeemed(self, now: Now, key: bytes, fault: str) -> list[Effect]:
        """A Redeem ended; `fault` is empty when the value left, and else says what went wrong, for a person."""
        return self.redeemer.on_redeemed(now, key, fault)

    def on_compared(self, now: Now, token: str, pairs: tuple[tuple[int, int], ...] | None) -> list[Effect]:
        """A Compare ended: which results are close to each other; None when that could not be said."""
        return self.requester.on_compared(now, token, pairs)

    def on_fetch(
        self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str = "", held_bytes: int = 0
    ) -> list[Effect]:
        """A Fetch ended. `blobs`: the bytes of a manifest, empty for other fetches, None when it failed. `held_bytes`:
        it failed since so many bytes from the beginning are here and the peer gives no more until they are paid."""
        if token.startswith(("outputs:", "compare:")):
            return self.requester.on_fetch(now, token, blobs, reason, held_bytes)
        return self.provider.on_fetch(now, token, blobs, reason)


def _subject_of(document: AnyDocument) -> bytes:
    """The key that a document of the book is about; it belongs where that key's offer does. A demand, and the cancel of
    one, belong where their tag does."""
    if isinstance(document.body, d.Demand | d.Cancel) and document.body.tag:
        return document.body.tag
    if isinstance(document.body, Revocation):
        return document.body.subject
    if isinstance(document.body, d.EquivocationProof):
        return offender_named(document.body)
    return document.signer
