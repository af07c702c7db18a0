"""Numbers of gossipsub: the specification's (gossipsub v1.0 "Parameters", v1.1), and the bounds of our own memory."""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol.gossip.score.params import ScoreParams, Thresholds
from p2pcompute.protocol.gossip.timing import HEARTBEAT_MS
from p2pcompute.wire import limits

__all__ = ["HEARTBEAT_MS", "GossipParams"]

# Bounds on what peers can make us hold --------------------------------------------------------------------------
TOPIC_BYTES_MAX: Final = 256
TOPICS_PER_PEER_MAX: Final = 256
MESSAGES_PER_RPC_MAX: Final = 1_024
CONTROLS_PER_RPC_MAX: Final = 1_024
IDS_PER_CONTROL_MAX: Final = 5_000
ID_BYTES_MAX: Final = 64
"""Of other implementations' ids; ours have 20 bytes."""
DATA_BYTES_MAX: Final = limits.DOCUMENT_BYTES_MAX
SEEN_MAX: Final = 200_000
PROMISES_MAX: Final = 20_000
"""Messages that we asked for and that have not come yet."""
PROMISERS_MAX: Final = 4
"""Peers remembered for one of them."""
BACKOFFS_MAX: Final = 20_000
FANOUT_MAX: Final = 64
"""Topics we publish to without subscribing."""
CACHE_BYTES_MAX: Final = 64 * limits.MIB
"""Messages kept to answer IWANT; the oldest go first."""
BACKOFF_MS_MAX: Final = 3_600_000
"""The longest backoff a peer can ask of us."""
EXCHANGED_PEERS_MAX: Final = 16
"""Peers named in one PRUNE (v1.1, "PrunePeers"); further ones are not read."""
RECORD_BYTES_MAX: Final = 2_048
"""Of a signed peer record."""
RECORDS_MAX: Final = 1_024
"""Signed peer records that we hand on."""
UNWANTED_PER_PEER_MAX: Final = 1_000
"""Messages that a peer can tell us not to send, within `idontwant_heartbeats`."""


@dataclasses.dataclass(frozen=True, slots=True)
class GossipParams:
    """What a network may tune. Peers with different values work together."""

    degree: int = 6
    degree_low: int = 4
    degree_high: int = 12
    degree_outbound: int = 2
    """Of the mesh, peers that we dialled: they cannot all be an attacker's (v1.1, "Outbound Mesh Quotas")."""
    degree_score: int = 4
    """Peers with the best scores that stay when a mesh is thinned (v1.1, "Dscore")."""
    degree_lazy: int = 6
    gossip_factor: float = 0.25
    """Share of the peers outside the mesh that are told of messages, at least `degree_lazy`."""
    history_windows: int = 5
    """Heartbeats for which a message can be asked for."""
    gossip_windows: int = 3
    """Heartbeats for which it is advertised."""
    seen_ms: int = 120_000
    fanout_ms: int = 60_000
    prune_backoff_ms: int = 60_000
    unsubscribe_backoff_ms: int = 10_000
    graft_flood_ms: int = 10_000
    """A GRAFT that comes so soon after a PRUNE counts twice."""
    opportunistic_heartbeats: int = 60
    """How often a mesh of low scores is looked at."""
    opportunistic_peers: int = 2
    """Better peers that are then added to it."""
    peer_exchange: bool = True
    """Name other peers in PRUNE. Whom we are told of is dialled only on the word of a peer above `accept_px`."""
    exchange_dials_per_heartbeat: int = 4
    idontwant_bytes_min: int = 4_096
    """Messages from here on are announced with IDONTWANT before they are forwarded. An announcement costs a neighbour
    about as much time as a small duplicate."""
    idontwant_heartbeats: int = 3
    """How long a peer's IDONTWANT holds."""
    followup_ms: int = 3_000
    """What a peer has to send a message that it advertised and that we asked for."""
    ihaves_per_heartbeat: int = 10
    ids_asked_per_heartbeat: int = 5_000
    retransmissions: int = 3
    """How often one message is sent to one peer that asks for it."""
    iwant_bytes_per_heartbeat: int = 1 * limits.MIB
    verifies_per_second: int = 1_000
    """Signatures of one peer's messages that are checked; more of its messages are ignored unread."""
    verifies_burst: int = 2_000
    flood_publish: bool = True
    """Send our own messages to every subscriber, not only to the mesh (v1.1, "Flood Publishing")."""
    score: ScoreParams = dataclasses.field(default_factory=ScoreParams)
    thresholds: Thresholds = dataclasses.field(default_factory=Thresholds)
