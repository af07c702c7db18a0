"""Bugs planted into the protocol, one at a time: every one has to break an invariant."""
