"""How a result comes to be believed: what the requester chose, as an Assignment states it."""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec

from p2pcompute.errors import UsageError
from p2pcompute.wire import limits

SAMPLES_DEFAULT: Final = 44
"""Finds a provider who fakes a tenth of the blocks 99 times in 100: 1 - 0.9 ** 44 = 0.990."""


class Scheme(enum.IntEnum):
    """REPLICATE: every task by several operators. ADAPTIVE: by one whose word has earned it, with secret checks.
    SAMPLE: by one, of whose blocks some are recomputed. RESTRICTED: by one of those named, and now and then the task is
    computed here as well."""

    REPLICATE = 0
    ADAPTIVE = 1
    SAMPLE = 2
    RESTRICTED = 3


class Policy(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """`replicas` compute the same, and `quorum` of them must agree, whenever a task is replicated: always (REPLICATE),
    when an operator's word does not suffice (ADAPTIVE), or when there is nothing to sample since the kernel is said to
    have failed (SAMPLE). `samples`: blocks recomputed (SAMPLE), else 0. `referee`: whether one recomputed block says
    which of two results is wrong, rather than a majority (REPLICATE)."""

    scheme: Scheme = Scheme.REPLICATE
    replicas: Annotated[int, msgspec.Meta(ge=1, le=limits.REPLICAS_MAX)] = 2
    quorum: Annotated[int, msgspec.Meta(ge=1, le=limits.REPLICAS_MAX)] = 2
    samples: Annotated[int, msgspec.Meta(ge=0, le=limits.SAMPLES_MAX)] = 0
    referee: bool = False

    @property
    def first(self) -> int:
        """How many replicas a task begins with."""
        return self.replicas if self.scheme is Scheme.REPLICATE else 1

    @property
    def keeps_states(self) -> bool:
        """Whether providers keep, and commit to, the state after every step."""
        return self.referee or self.scheme is Scheme.SAMPLE


def policy_fault(policy: Policy) -> str:
    """Why these numbers make no policy; empty when they do."""
    if not 1 <= policy.quorum <= policy.replicas <= limits.REPLICAS_MAX:
        return f"the quorum must be 1 to the number of replicas, and these at most {limits.REPLICAS_MAX}"
    if policy.scheme is Scheme.RESTRICTED and policy.replicas > 1:
        return "a restricted task has one replica"
    if policy.scheme in (Scheme.ADAPTIVE, Scheme.SAMPLE) and policy.quorum < 2:
        return "a check needs a quorum of at least two"
    if (policy.scheme is Scheme.SAMPLE) != (policy.samples > 0):
        return "blocks are sampled under the policy sample, and under no other"
    if not 0 <= policy.samples <= limits.SAMPLES_MAX:
        return f"a sample has 1 to {limits.SAMPLES_MAX} blocks"
    if policy.referee and (policy.scheme is not Scheme.REPLICATE or policy.quorum < 2):
        return "a referee decides between replicas, of which a quorum of at least two must agree"
    return ""


def replicate(replicas: int = 2, quorum: int | None = None, *, referee: bool = False) -> Policy:
    """Every task computed by so many operators; believed when `quorum` of them (all but one, at least two, when not
    given; one replica is believed as it is) state the same. With `referee` no majority decides between results that
    differ: the first block in which they do is recomputed here. Only for kernels whose blocks are provably independent.
    Raises UsageError."""
    agreeing = min(replicas, max(2, replicas - 1)) if quorum is None else quorum
    return _checked(Policy(Scheme.REPLICATE, replicas, agreeing, referee=referee))


def adaptive(replicas: int = 2, quorum: int | None = None) -> Policy:
    """One operator suffices once its results for this kernel were confirmed often enough, and is still checked in one
    secret task of every twenty; as `replicate` until then. Raises UsageError."""
    return _checked(Policy(Scheme.ADAPTIVE, replicas, max(2, replicas - 1) if quorum is None else quorum))


def sample(blocks: int = SAMPLES_DEFAULT) -> Policy:
    """One operator computes, and so many thread blocks, drawn after it committed, are recomputed here. Only for kernels
    whose blocks are provably independent. Raises UsageError."""
    return _checked(Policy(Scheme.SAMPLE, 2, 2, blocks))


def restricted() -> Policy:
    """One of the operators that the needs name computes, and nobody else sees the task; one task in every twenty, and
    the first ones, are computed here as well, which the operator cannot know."""
    return Policy(Scheme.RESTRICTED, 1, 1)


def _checked(policy: Policy) -> Policy:
    fault = policy_fault(policy)
    if fault:
        raise UsageError(f"replicas = {policy.replicas}, quorum = {policy.quorum}, blocks = {policy.samples}: {fault}")
    return policy
