"""gossipsub v1.1, sans-IO and wire-compatible."""

from p2pcompute.protocol.gossip.codec import message_id
from p2pcompute.protocol.gossip.params import GossipParams
from p2pcompute.protocol.gossip.router import CHANNEL, HEARTBEAT, Gossip

__all__ = ["CHANNEL", "HEARTBEAT", "Gossip", "GossipParams", "message_id"]
