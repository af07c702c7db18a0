"""gossipsub v1.1 and v1.2, sans-IO and wire-compatible."""

from p2pcompute.protocol.gossip.codec import message_id
from p2pcompute.protocol.gossip.counters import Counters
from p2pcompute.protocol.gossip.params import GossipParams
from p2pcompute.protocol.gossip.router import CHANNEL, HEARTBEAT, OLDER_CHANNELS, Gossip
from p2pcompute.protocol.gossip.score import Breakdown, ScoreParams, Thresholds, TopicScore

__all__ = [
    "CHANNEL",
    "HEARTBEAT",
    "OLDER_CHANNELS",
    "Breakdown",
    "Counters",
    "Gossip",
    "GossipParams",
    "ScoreParams",
    "Thresholds",
    "TopicScore",
    "message_id",
]
