"""docs/spec/transport.md says what the code does: its table of limits row by row, its rules without gaps."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from p2pcompute.node import company, peers_file, reachability
from p2pcompute.protocol import core
from p2pcompute.protocol.machine import Priority
from p2pcompute.transport import admission, allowance, channels, libp2p, memory, mux, peers, tcp, yamux

PAGE = Path(__file__).parents[2] / "docs" / "spec" / "transport.md"
NAMED: dict[ModuleType, tuple[str, ...]] = {
    tcp: ("HANDSHAKE_S",),
    admission: (
        "PENDING_MAX",
        "PENDING_PER_IP_MAX",
        "PENDING_PER_SUBNET_MAX",
        "CONNECTIONS_MAX",
        "INBOUND_MAX",
        "CONNECTIONS_PER_IP_MAX",
        "CONNECTIONS_PER_SUBNET_MAX",
    ),
    libp2p: ("RETIRE_S", "REQUEST_READ_S", "REQUESTS_PER_PEER_MAX", "IDLE_S", "PONG_S"),
    mux: ("NEGOTIATE_S", "STREAM_STALL_S", "WRITE_STALL_S"),
    allowance: (
        "UNASKED_BYTES_PER_S",
        "UNASKED_BYTES_BURST",
        "STREAM_COST_BYTES",
        "CONTROL_COST_BYTES",
        "PAUSE_S_MAX",
    ),
    memory: ("BUFFERED_BYTES_MAX",),
    peers: ("ALIVE_S",),
    peers_file: ("PEERS_MAX",),
    core: ("NEIGHBOURS_MIN", "DEMERITS_SCORE_MAX", "BANNED_SCORE"),
    company: ("DIALS_AT_ONCE", "REDIAL_S_MIN", "REDIAL_S_MAX", "FAILURES_MAX"),
    reachability: ("OBSERVERS_MAX",),
}
YAMUX = ("streams_max", "backlog_max", "unread_bytes_max", "control_per_read_max", "out_bytes_max")


def limits() -> dict[str, float]:
    """Every limit the page names, from the code."""
    found = {name: getattr(module, name) for module, names in NAMED.items() for name in names}
    return found | {name: getattr(yamux.Limits(), name) for name in YAMUX}


def test_the_table_of_limits_is_the_codes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (-?[\d.]+) \|", PAGE.read_text(), re.MULTILINE)
    assert {name: float(value) for name, value in rows} == limits()


def test_every_limit_stands_in_a_rule() -> None:
    rules = PAGE.read_text().partition("## Limits")[0]
    assert not [name for name in limits() if name not in rules]


def test_rules_are_numbered_without_gaps() -> None:
    for letter in "HASFLR":
        numbers = [int(n) for n in re.findall(rf"^{letter}(\d+)\. ", PAGE.read_text(), re.MULTILINE)]
        assert numbers
        assert numbers == list(range(1, len(numbers) + 1))


def test_queues_are_as_the_page_says() -> None:
    assert channels.QUEUE_BYTES_MAX == {Priority.LOW: 2**19, Priority.NORMAL: 2**20, Priority.HIGH: 2**22}
