"""libp2p's Kademlia DHT without input or output: who is where, and who provides what. No values are kept."""

from p2pcompute.protocol.kademlia.messages import MESSAGE_BYTES_MAX, PROTOCOL, Contact, Kind, Message, provider_key
from p2pcompute.protocol.kademlia.node import Kademlia
from p2pcompute.protocol.kademlia.search import Search

__all__ = ["MESSAGE_BYTES_MAX", "PROTOCOL", "Contact", "Kademlia", "Kind", "Message", "Search", "provider_key"]
