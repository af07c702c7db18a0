"""Each character: that it misbehaves as it says, and that an honest world lives with a modest share of it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.protocol import records, sync
from p2pcompute.protocol.gossip.codec import decode_rpc
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument, Kind
from p2pcompute.wire.manifest import decode_manifest
from simnet.characters import CHARACTERS, sentence_of
from simnet.characters.base import kind_of
from simnet.characters.equivocators import DoubleBooker
from simnet.faults import Absence
from simnet.invariants import INVARIANTS, Watch
from simnet.invariants.base import of_kind
from simnet.node import Node
from simnet.scenario import Scenario, Work
from simnet.site import NETWORK, network_verify, right_outputs
from simnet.world import World

REQUESTERS = ("deadbeat", "hoarder", "skimper", "loss-inventor", "understater", "haggler", "crammer")
SHARES = {"sybil": 3, "gang": 2, "hydra": 2, "lazy-copier": 2}
TASKS = {"sleeper": 24, "padder": 24, "naysayer": 24}
PLAN = (Absence(at_ms=3_000, for_ms=2_000, nodes="provider0"),)
"""Somebody takes an offer back and makes a new one, so that there are old ones to say again."""


@dataclasses.dataclass
class Lived:
    """A world that has ended, with every frame that crossed it."""

    world: World
    wire: list[tuple[str, str, str, bytes | None, bytes]]
    bad: list[Node]

    @property
    def names(self) -> list[str]:
        return [node.name for node in self.bad]

    def sent(self, kind: Kind) -> list[AnyDocument]:
        """Documents of a kind that the bad ones sent or answered with."""
        frames = [f for who, _, way, f, _ in self.wire if way != "gossip" and who in self.names and kind_of(f) == kind]
        return [d.open_document(NETWORK, f, network_verify) for f in frames if f is not None]

    def answers(self, kind: Kind) -> list[bytes | None]:
        """What the bad ones answered to documents of a kind."""
        return [f for who, _, way, f, about in self.wire if way == "answer" and who in self.names and is_(about, kind)]

    def stated(self) -> list[tuple[bytes, bool, tuple[bytes, ...], tuple[bytes, ...]]]:
        """(operator, is it bad, roots stated, right roots), in the order in which they were opened."""
        operators = {node.operator.public for node in self.bad}
        return [
            (f["operator"], f["operator"] in operators, f["roots"], right(self.world, f["job"]))  # type: ignore[misc]
            for _, _, name, f in self.world.events
            if name == "job.revealed"
        ]

    def lies(self) -> list[tuple[bytes, tuple[bytes, ...], tuple[bytes, ...]]]:
        return [(who, roots, due) for who, bad, roots, due in self.stated() if bad and roots != due]

    def messages(self) -> list[tuple[str, str, Any]]:
        """(from, to, message) of the gossip that the bad ones sent."""
        return [
            (who, to, message)
            for who, to, way, frame, _ in self.wire
            if way == "gossip" and who in self.names and frame
            for message in decode_rpc(frame).messages
        ]

    def pushed(self) -> list[bytes]:
        """Documents that the bad ones pushed into others' books."""
        frames = [f for who, _, way, f, _ in self.wire if way == "request" and who in self.names and f]
        return [raw for f in frames if f[0] == sync.PUSH for raw in msgspec.msgpack.decode(f[1:], type=list[bytes])]


def is_(frame: bytes, kind: Kind) -> bool:
    return kind_of(frame) == kind


def right(world: World, job: object) -> tuple[bytes, ...]:
    return tuple(root for root, _ in right_outputs(world.tasks[job].manifest))  # type: ignore[index]


def world_with(name: str, seed: int) -> World:
    share = {name: float(SHARES.get(name, 1))}
    scenario = Scenario(
        providers=9,
        requesters=2,
        characters={} if name in REQUESTERS else share,
        requester_characters=share if name in REQUESTERS else {},
        work=Work(tasks=TASKS.get(name, 8), outputs=3, every_ms=700),
        linger_ms=3_000,
    )
    return World(scenario, seed, plan=PLAN)


def lived(name: str, seed: int = 1) -> Lived:
    """Raises Violation when an invariant broke."""
    world = world_with(name, seed)
    wire: list[tuple[str, str, str, bytes | None, bytes]] = []
    world.network.taps.append(lambda a, b, way, frame, about: wire.append((a.name, b.name, way, frame, about)))
    watch = Watch(world)
    world.run()
    watch.end()
    bad = [node for node in world.nodes if node.kind is CHARACTERS[name]]
    assert bad
    return Lived(world, wire, bad)


def liar(it: Lived) -> bool:
    return bool(it.lies()) and all(ours != due for _, bad, ours, due in it.stated() if bad)


def subtle_liar(it: Lived) -> bool:
    wrong = [sum(a != b for a, b in zip(roots, due)) for _, roots, due in it.lies()]
    return bool(wrong) and set(wrong) == {1} and any(bad and ours == due for _, bad, ours, due in it.stated())


def faker(it: Lived) -> bool:
    faked = {root for node in it.bad for root in node.fakes}
    return bool(it.lies()) and all(set(roots) <= faked for _, roots, _ in it.lies())


def milker(it: Lived) -> bool:
    right_ones = [ours == due for _, bad, ours, due in it.stated() if bad]
    return right_ones == sorted(right_ones, reverse=True) and len(set(right_ones)) == 2


def padder(it: Lived) -> bool:
    """It claims more than any run takes."""
    most_us = 1_000 * it.world.scenario.work.run_ms_max
    return any(x.body.device_us > most_us for x in it.sent(Kind.ROOT_REVEAL)) and not it.lies()


def naysayer(it: Lived) -> bool:
    """First it has results, and then none any more."""
    said = [x.body.status is d.OutcomeStatus.TRAP for x in it.sent(Kind.ROOT_REVEAL)]
    return said == sorted(said) and len(set(said)) == 2


def lazy_copier(it: Lived) -> bool:
    asked = [who for who, _, way, f, _ in it.wire if way == "request" and who in it.names and is_(f or b"", ASK)]
    return bool(it.lies()) and bool(asked)


ASK = Kind.REVEAL_REQUEST


def gang(it: Lived) -> bool:
    together: dict[tuple[bytes, ...], set[bytes]] = {}
    for who, roots, _ in it.lies():
        together.setdefault(roots, set()).add(who)
    return any(len(operators) > 1 for operators in together.values())


def hydra(it: Lived) -> bool:
    return len({node.operator.public for node in it.bad}) == 1 < len(it.bad) and bool(it.lies())


def sybil(it: Lived) -> bool:
    hosts = {node.address.rpartition("/tcp/")[0] for node in it.bad}
    operators = {node.operator.public for node in it.bad}
    asked = [to for _, to, way, f, _ in it.wire if way == "request" and to in it.names and is_(f or b"", Kind.PROBE)]
    return len(hosts) == 1 and len(operators) == len(it.bad) and bool(asked) and not it.sent(Kind.COMMITMENT)


def squatter(it: Lived) -> bool:
    taken = [answer for answer in it.answers(Kind.ASSIGNMENT) if answer == b""]
    return bool(taken) and not it.sent(Kind.COMMITMENT) and not it.sent(Kind.FAILURE)


def withholder(it: Lived) -> bool:
    refused = [answer for answer in it.answers(ASK) if answer is None]
    unread = [node for node in it.bad if any(of_kind(node, records.Issued)) and not node._grants]
    return bool(it.sent(Kind.COMMITMENT)) and bool(refused) and bool(unread)


def double_booker(it: Lived) -> bool:
    links = {x.id: (x.signer, x.epoch, x.body.slot, x.body.n) for x in it.sent(Kind.RESERVATION)}
    return len(set(links.values())) < len(links)


def forker(it: Lived) -> bool:
    links = {x.id: (x.signer, x.epoch, x.body.n) for x in it.sent(Kind.RECEIPT)}
    return len(set(links.values())) < len(links)


def turncoat(it: Lived) -> bool:
    made: dict[bytes, set[bytes]] = {}
    for x in it.sent(Kind.COMMITMENT):
        made.setdefault(x.body.assignment, set()).add(x.body.root)
    return any(len(roots) == 2 for roots in made.values()) and not it.lies()


def two_faced(it: Lived) -> bool:
    faces: dict[int, dict[int, set[str]]] = {}
    for _, to, message in it.messages():
        offer = d.open_document(NETWORK, message.data, network_verify)
        if offer.signer == it.bad[0].peer and isinstance(offer.body, d.Offer):
            faces.setdefault(offer.sequence, {}).setdefault(offer.body.price_per_device_s, set()).add(to)
    return any(len(prices) > 1 for prices in faces.values())


def deadbeat(it: Lived) -> bool:
    owed = [p for p in it.world.providers for r in of_kind(p, records.Issued) if requester_of(r) == it.bad[0].peer]
    return bool(owed) and not it.sent(Kind.CHEQUE)


def requester_of(record: records.Issued) -> bytes:
    peer: bytes = d.open_document(NETWORK, record.receipt, network_verify).body.requester
    return peer


def skimper(it: Lived) -> bool:
    """Its later cheques to one payee promise less than its earlier ones, or as much."""
    sums: dict[bytes, list[int]] = {}
    for x in it.sent(Kind.CHEQUE):
        sums.setdefault(x.body.payee, []).append(x.body.cumulative)
    prices = [r.body.price for node in it.world.providers if node.core for r in node.core.provider.chain.receipts()]
    return any(len(set(s)) > 1 and set(s) <= set(prices) for s in sums.values())


def hoarder(it: Lived) -> bool:
    return bool(it.sent(Kind.RESERVATION_REQUEST)) and not it.sent(Kind.ASSIGNMENT)


def loss_inventor(it: Lived) -> bool:
    denied = [x for x in it.sent(Kind.VERDICT) if x.body.judgement is d.Judgement.OUTVOTED]
    innocent = [event for _, _, event, f in it.world.events if event == "job.verdict" and f["judgement"] == "AGREED"]
    return bool(denied) and bool(innocent) and bool(it.sent(Kind.CHEQUE))


def understater(it: Lived) -> bool:
    asked = {x.body.device_ms_max for x in it.sent(Kind.PROBE)}
    manifests = [it.world.manifest(number) for number in range(len(it.world.tasks))]
    least = min(decode_manifest(manifest).device_ms_max for manifest in manifests)
    return bool(asked) and max(asked) < least and bool(it.sent(Kind.ASSIGNMENT))


def haggler(it: Lived) -> bool:
    """It would pay less than anybody asks."""
    least = min(p.terms.price_per_device_s for p in it.world.providers if p.terms is not None)
    assigned = [x.body.price_per_device_s for x in it.sent(Kind.ASSIGNMENT)]
    return bool(assigned) and max(assigned) < least


def crammer(it: Lived) -> bool:
    crammed: dict[bytes, set[bytes]] = {}
    for x in it.sent(Kind.ASSIGNMENT):
        crammed.setdefault(x.body.reservation, set()).add(x.id)
    return bool(crammed) and all(len(assignments) > 1 for assignments in crammed.values())


def spammer(it: Lived) -> bool:
    gossip = [to for who, to, way, _, _ in it.wire if way == "gossip" and who in it.names]
    requests = [to for who, to, way, _, _ in it.wire if way == "request" and who in it.names]
    usual = [to for who, to, way, _, _ in it.wire if way == "gossip" and who == "provider0"]
    readers = [n for n in it.world.nodes if n.kind.honest and n.core and it.bad[0].peer in n.core.peers]
    graylist = [n for n in readers if n.core and n.core._gossip._standing.graylisted(it.bad[0].peer)]  # type: ignore[attr-defined]
    return len(gossip) > 2 * len(usual) and len(requests) > 100 and len(graylist) == len(readers)


def eclipser(it: Lived) -> bool:
    bad = it.bad[0]
    grafted = {
        to for who, to, way, f, _ in it.wire if way == "gossip" and who == bad.name and decode_rpc(f or b"").graft
    }
    everybody = {node.name for node in it.world.providers} - {bad.name}
    connected = {bad.network.nodes[peer].name for peer in bad.lines}
    return everybody <= grafted and everybody <= connected and forwards_nothing(it)


def forwards_nothing(it: Lived) -> bool:
    others = [message for who, _, message in it.messages() if message.source not in {node.peer for node in it.bad}]
    return not others


def black_hole(it: Lived) -> bool:
    asked = [to for _, to, way, _, _ in it.wire if way == "request" and to in it.names]
    answered = [who for who, _, way, _, _ in it.wire if way == "answer" and who in it.names]
    return forwards_nothing(it) and bool(asked) and not answered


def forger(it: Lived) -> bool:
    forged = [raw for raw in [*it.pushed(), *(m.data for _, _, m in it.messages())] if not holds(raw)]
    spoilt = [
        f for who, _, way, f, _ in it.wire if way == "request" and who in it.names and kind_of(f) and not holds(f)
    ]
    return bool(forged) and bool(spoilt)


def holds(raw: bytes | None) -> bool:
    try:
        d.open_document(NETWORK, raw or b"", network_verify)
    except (DecodeError, SignatureError):
        return False
    return True


def replayer(it: Lived) -> bool:
    mine = [f for who, _, way, f, _ in it.wire if way == "request" and who in it.names and kind_of(f)]
    old = [
        raw for raw in it.pushed() if not any(raw in n.core.book._raws for n in it.world.nodes if n.core is not None)
    ]
    return len(set(mine)) < len(mine) and bool(old)


EVIDENCE: dict[str, Callable[[Lived], bool]] = {
    "liar": liar,
    "subtle-liar": subtle_liar,
    "faker": faker,
    "milker": milker,
    "sleeper": milker,
    "padder": padder,
    "naysayer": naysayer,
    "lazy-copier": lazy_copier,
    "gang": gang,
    "hydra": hydra,
    "sybil": sybil,
    "squatter": squatter,
    "withholder": withholder,
    "double-booker": double_booker,
    "forker": forker,
    "turncoat": turncoat,
    "two-faced": two_faced,
    "deadbeat": deadbeat,
    "skimper": skimper,
    "hoarder": hoarder,
    "loss-inventor": loss_inventor,
    "understater": understater,
    "haggler": haggler,
    "crammer": crammer,
    "spammer": spammer,
    "eclipser": eclipser,
    "black-hole": black_hole,
    "forger": forger,
    "replayer": replayer,
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_character_does_what_it_says_and_the_honest_live_with_it(name: str) -> None:
    assert EVIDENCE[name](lived(name))


@pytest.mark.parametrize("name", EVIDENCE)
def test_an_honest_world_shows_nothing_of_the_kind(name: str) -> None:
    """The evidence is not in what everybody does."""
    it = lived("honest")
    node = it.world.requesters[1] if name in REQUESTERS else it.world.providers[1]
    assert not EVIDENCE[name](dataclasses.replace(it, bad=[node]))


def test_who_books_double_is_out_of_every_honest_book_also_of_one_that_was_away() -> None:
    it = lived("double-booker")
    honest = [node for node in it.world.nodes if node not in it.bad and node.core is not None]
    assert len(honest) == 10
    assert all(n.core.book.is_convicted(liar.peer) for n in honest for liar in it.bad if n.core is not None)


def test_every_character_has_a_sentence_and_a_test() -> None:
    assert set(EVIDENCE) == set(CHARACTERS) - {"honest"}
    assert all(sentence_of(name).endswith(".") for name in CHARACTERS)


def test_a_copier_states_what_one_of_its_kind_found_out() -> None:
    world = world_with("lazy-copier", 1)
    copiers = [node for node in world.providers if node.kind is CHARACTERS["lazy-copier"]]
    manifest = world.manifest(0)
    copiers[0].ring.notes[manifest] = tuple((bytes([i]) * 32, 4) for i in range(3))
    world.run()
    stated = [f["roots"] for _, _, name, f in world.events if name == "job.revealed"]
    assert tuple(bytes([i]) * 32 for i in range(3)) in stated


def test_the_documentation_says_what_the_code_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simnet.md").read_text(encoding="utf-8")
    said = {name: sentence_of(name) for name in CHARACTERS if name != "honest"}
    said |= {name: " ".join((inspect.getdoc(one) or "").split()) for name, one in INVARIANTS.items()}
    assert [name for name, sentence in said.items() if f"| `{name}` | {sentence} |\n" not in text] == []


def test_a_double_booker_is_proven_guilty_before_everybody() -> None:
    scenario = Scenario(
        providers=8, requesters=3, characters={"double-booker": 1}, acquaintances=2, work=Work(tasks=12, every_ms=700)
    )
    world = World(scenario, 1)
    watch = Watch(world)
    world.run()
    watch.end()
    (guilty,) = (node for node in world.providers if node.kind is DoubleBooker)
    cores = [node.core for node in world.nodes if node is not guilty and node.core is not None]
    assert all(core.book.is_convicted(guilty.peer) and core.book.get(guilty.peer) is None for core in cores)
    assert len(cores) == 10
