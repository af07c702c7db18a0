"""The book, offers, orders, peers and accounts, as this node sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pcompute.cli import output
from p2pcompute.cli.attach import ask, ask_running
from p2pcompute.cli.money import format_bytes, format_credits, parse_bytes, parse_credits
from p2pcompute.cli.needs import WANTED, Wanted
from p2pcompute.cli.options import COMMON, Common
from p2pcompute.errors import UsageError

if TYPE_CHECKING:
    from p2pcompute.node.api import NodeApi

BOOK_COLUMNS: Final = (
    output.Column("peer", "provider"),
    output.Column("engine", "engine"),
    output.Column("model", "model"),
    output.Column("price_per_device_s", "credits/s", format_credits, right=True),
    output.Column("price_per_gb", "credits/GB", format_credits, right=True),
    output.Column("slots", "slots", right=True),
    output.Column("mflops", "GFLOP/s", lambda m: f"{m / 1000:.1f}", right=True),
    output.Column("copy_mb_s", "GB/s", lambda m: f"{m / 1000:.1f}", right=True),
    output.Column("memory_bytes_max", "memory", format_bytes, right=True),
    output.Column("region", "region"),
)
_LEDGER_COLUMNS: Final = (
    output.Column("peer", "peer"),
    output.Column("earned", "earned", format_credits, right=True),
    output.Column("covered", "paid to me", format_credits, right=True),
    output.Column("received", "settled", format_credits, right=True),
    output.Column("owed_to_me", "owed to me", format_credits, right=True),
    output.Column("under_way", "under way", format_credits, right=True),
    output.Column("credit_left", "credit left", format_credits, right=True),
    output.Column("promised", "I promised", format_credits, right=True),
    output.Column("settled", "I settled", format_credits, right=True),
    output.Column("outstanding", "outstanding", format_credits, right=True),
)
_DEMAND_COLUMNS: Final = (
    output.Column("peer", "requester"),
    output.Column("quantity", "providers", right=True),
    output.Column("needs", "needs", lambda needs: ", ".join(f"{key} {value}" for key, value in needs.items())),
)
_PEER_COLUMNS: Final = tuple(output.Column(key, key) for key in ("peer", "direction", "address"))
_BAN_COLUMNS: Final = tuple(output.Column(key, key) for key in ("operator", "reason"))


def book(*, demands: bool = False, common: Common = COMMON) -> None:
    """List every offer this node knows.

    Args:
        demands: List what other requesters ask for and nobody offers instead.
    """
    if demands:
        rows = ask(common, _others_demands, join=True)
        output.put_table(rows, _DEMAND_COLUMNS, as_json=common.json, none="nobody asks for what is not offered")
        return
    rows = ask(common, lambda node: node.table("book"), join=True)
    rows.sort(key=lambda row: (row["price_per_device_s"], row["peer"]))
    output.put_table(rows, BOOK_COLUMNS, as_json=common.json, none="no offers seen; is the bootstrap address right?")


async def _others_demands(node: NodeApi) -> list[dict[str, object]]:
    me = (await node.status())["peer"]
    return [row for row in await node.table("demands") if row["peer"] != me]


def offer_list(*, common: Common = COMMON) -> None:
    """List this node's own offer, as others see it."""

    async def mine(node: NodeApi) -> list[dict[str, object]]:
        me = (await node.status())["peer"]
        return [row for row in await node.table("book") if row["peer"] == me]

    rows = ask_running(common, mine)
    output.put_table(rows, BOOK_COLUMNS, as_json=common.json, none="this node offers nothing")


def offer_withdraw(*, common: Common = COMMON) -> None:
    """Take this node's offer back; running jobs go on. Serving again publishes a new one."""
    _act(common, "withdraw", "")


def order_quote(
    *,
    device_s: float,
    limit_s: float = 60.0,
    memory: str = "64MiB",
    data: str = "0B",
    replicas: int = 2,
    wanted: Wanted = WANTED,
    common: Common = COMMON,
) -> None:
    """Say what the book would charge for a job, expected and at worst.

    Args:
        device_s: Seconds the kernel is expected to run.
        limit_s: Seconds after which providers stop it (--device-s of p2pcompute run).
        memory: Memory of its buffers, like 512MiB.
        data: What travels for each replica, like 2GB: manifest, PTX and inputs there, outputs back.
        replicas: Providers that compute the same.
    """
    from p2pcompute.client.quoting import estimate

    needs = wanted.needs(memory_bytes=parse_bytes(memory))
    rows = ask(common, lambda node: node.table("book"), join=True)
    moved = parse_bytes(data)
    found = estimate(rows, replicas=replicas, expected_s=device_s, limit_s=limit_s, traffic_bytes=moved, needs=needs)
    if common.json:
        output.put_json({"expected": found.expected, "worst": found.worst, "providers": found.providers})
        return
    facts = {"expected": format_credits(found.expected), "at worst": format_credits(found.worst)}
    output.put_facts({**facts, "providers": found.providers}, as_json=False)


def peer_list(*, banned: bool = False, common: Common = COMMON) -> None:
    """List the connected peers.

    Args:
        banned: List the operators this node does no business with instead.
    """
    if banned:
        rows = ask(common, lambda node: node.table("bans"))
        output.put_table(rows, _BAN_COLUMNS, as_json=common.json, none="nobody is banned")
        return
    rows = ask_running(common, lambda node: node.table("peers"))
    output.put_table(rows, _PEER_COLUMNS, as_json=common.json, none="no peer is connected")


def peer_connect(address: str, /, *, common: Common = COMMON) -> None:
    """Connect the running node to a peer.

    Args:
        address: Like /ip4/192.0.2.7/tcp/9471/p2p/12D3KooW….
    """
    _act(common, "connect", address)


def peer_ban(operator: str = "", /, *, proof: Path | None = None, common: Common = COMMON) -> None:
    """Do no more business with an operator.

    Args:
        operator: Its did:key, as the book (--json) and the list of bans show it.
        proof: In place of it, a fraud proof, or evidence in which somebody contradicts itself, which is then told to
            everybody: whoever it convicts is banned, once it was checked here.
    """
    from p2pcompute.cli.evidence import ban_by_proof

    if bool(operator) == (proof is not None):
        raise UsageError("name an operator, or a file with --proof")
    said = [ask(common, lambda node: node.act("ban", operator))] if proof is None else ban_by_proof(proof, common)
    for line in said:
        output.put_facts({"done": line}, as_json=common.json)


def peer_pardon(operator: str, /, *, common: Common = COMMON) -> None:
    """Lift a ban.

    Args:
        operator: Its did:key.
    """
    said = ask(common, lambda node: node.act("pardon", operator))
    output.put_facts({"done": said}, as_json=common.json)


def _act(common: Common, name: str, argument: str) -> None:
    said = ask_running(common, lambda node: node.act(name, argument))
    output.put_facts({"done": said}, as_json=common.json)


def ledger(*, common: Common = COMMON) -> None:
    """List what peers owe this node, and what it promised them."""
    rows = ask(common, lambda node: node.table("ledger"))
    output.put_table(rows, _LEDGER_COLUMNS, as_json=common.json, none="no business yet")


def ledger_settled(peer: str, credits: str, /, *, reference: str = "", common: Common = COMMON) -> None:
    """Book that value came from a peer for its cheques: so much of its debt is settled.

    Args:
        peer: Who it came from, as `p2pcompute ledger` shows it.
        credits: How much.
        reference: What names the transfer where it came in; one that was booked before is refused.
    """
    said = ask(common, lambda node: node.act("settled", f"{peer} {parse_credits(credits)} {reference}"))
    output.put_facts({"done": said}, as_json=common.json)
