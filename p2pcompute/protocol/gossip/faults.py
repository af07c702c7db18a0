"""What a peer can do wrong, and what that counts in its behaviour (P7). Invalid messages count in P4 instead."""

from __future__ import annotations

import enum
from typing import Final


class Fault(enum.Enum):
    """With the words for a log."""

    UNDECODABLE = "a frame that is no RPC"
    MALFORMED = "a message that breaks StrictSign"
    GRAFT_IN_BACKOFF = "a GRAFT before its time"
    BROKEN_PROMISE = "messages advertised and not sent"
    FLOOD = "more advertisements than allowed"


PENALTY: Final = {
    Fault.UNDECODABLE: 8.0,  # two cost the connection; no honest peer sends one
    Fault.MALFORMED: 5.0,
    Fault.GRAFT_IN_BACKOFF: 1.0,
    Fault.BROKEN_PROMISE: 1.0,  # for an IWANT; happens to honest peers whose frames are dropped under load
    Fault.FLOOD: 0.5,
}
"""`ScoreParams.behaviour_threshold` is what is forgiven."""
