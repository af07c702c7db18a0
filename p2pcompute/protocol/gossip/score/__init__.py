"""What a router thinks of each peer: the score of gossipsub v1.1, P1 to P7."""

from p2pcompute.protocol.gossip.score.board import Breakdown, Scores
from p2pcompute.protocol.gossip.score.params import ScoreParams, Thresholds, TopicScore, decay_over
from p2pcompute.protocol.gossip.score.standing import Standing

__all__ = ["Breakdown", "ScoreParams", "Scores", "Standing", "Thresholds", "TopicScore", "decay_over"]
