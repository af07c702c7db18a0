"""Commit, reveal, compare: the pure part of believing a result. Rules V1 to V6 and V8 of docs/spec/verification.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from p2pcompute.protocol.pricing import price_floor
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.documents import Assignment, Judgement, OutcomeStatus, RootReveal, Verdict
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.policy import Policy
from p2pcompute.wire.steps import state_buffers, step_count

LEAVES_PER_SAMPLE: Final = 64
"""Leaves of 4 KiB that a requester may read for each block it recomputes, before it judges and pays."""
LEVELS_MAX: Final = (merkle.leaf_count(limits.BUFFER_BYTES_MAX) - 1).bit_length() + 1
"""Of the tree over the largest buffer, leaves and top included: as many leaves find where two of them differ."""
LOCATING_TRIES_MAX: Final = 5
"""How often a byte is looked for (R7c)."""
LEAVES_PER_DISPUTE: Final = LOCATING_TRIES_MAX * LEVELS_MAX + LEAVES_PER_SAMPLE
"""Leaves that a provider gives for one dispute: to find the block, and to recompute it."""
DISPUTES_MAX: Final = limits.REPLICAS_MAX - 1
"""Of one replica: each ends with another one, or the last."""
EMPTY: Final = merkle.blob_root(b"")


def leaves_shown(policy: Policy) -> int:
    """How many leaves of its states a provider gives between its opening and the verdict."""
    return LEAVES_PER_DISPUTE * DISPUTES_MAX if policy.referee else policy.samples * LEAVES_PER_SAMPLE


def salt_of(secret: bytes, assignment_id: bytes) -> bytes:
    """32 bytes only this node can make, the same after every crash."""
    return blake3(assignment_id, key=secret).digest()


def inputs_root(manifest: Manifest) -> bytes:
    """One root over all input roots, in the manifest's order."""
    return merkle.fields_root([b.root for b in manifest.inputs])


def commitment_root(assignment_id: bytes, manifest_id: bytes, manifest: Manifest, opening: RootReveal) -> bytes:
    """The salted Merkle root a provider commits to. Every field is a leaf of its own, salted with its index, so that a
    later proof can open one field without the others."""
    fields = (
        assignment_id,
        manifest_id,
        manifest.ptx_root,
        inputs_root(manifest),
        merkle.fields_root((opening.engine.encode(), opening.numeric_class.encode())),
        bytes([opening.status]),
        merkle.fields_root(opening.output_roots),
        opening.device_us.to_bytes(8, "little"),
        merkle.fields_root([merkle.fields_root(state) for state in opening.states]),
    )
    return merkle.fields_root([blake3(field, key=opening.salt).digest() + field for field in fields])


def opening_fault(opening: RootReveal, manifest: Manifest, policy: Policy) -> str:
    """Why an opening cannot be one of this manifest under this policy; empty when it can."""
    expected = len(manifest.outputs) if opening.status is OutcomeStatus.OK else 0
    if len(opening.output_roots) != expected:
        return f"{len(opening.output_roots)} output roots, not {expected}"
    kept = policy.keeps_states and opening.status is OutcomeStatus.OK
    if len(opening.states) != (step_count(manifest) if kept else 0):
        return f"{len(opening.states)} states"
    places = state_buffers(manifest)
    if any(len(state) != len(places) for state in opening.states):
        return "a state with too few or too many buffers"
    nothing = {at for at, place in enumerate(places) if not manifest.buffers[place].size_bytes}
    if any(state[at] != EMPTY for state in opening.states for at in nothing):
        return "bytes in an empty buffer"
    if kept:
        last = [root for root, place in zip(opening.states[-1], places) if manifest.buffers[place].is_output]
        if tuple(last) != opening.output_roots:
            return "outputs other than the last state's"
    return ""


Answer = tuple[OutcomeStatus, tuple[bytes, ...]]
"""What replicas must agree on, bit for bit."""


def answer_of(opening: RootReveal) -> Answer:
    """The comparable part of an opening: where a kernel is at fault, who noticed it where does not matter."""
    return opening.status, opening.output_roots


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Openings counted. `agreed` is None until a quorum of distinct operators gave one answer, and more of them than
    gave any other; `best` is the size of the largest group."""

    agreed: Answer | None
    best: int


def tally(votes: Sequence[tuple[bytes, RootReveal]], quorum: int) -> Tally:
    """Count (operator, opening) pairs; an operator counts once for each answer. A tie is no agreement: nobody is to be
    banned because he came second."""
    groups: dict[Answer, dict[bytes, None]] = {}
    for operator, opening in votes:
        groups.setdefault(answer_of(opening), {})[operator] = None
    best = max(groups, key=lambda answer: len(groups[answer]), default=None)
    size = len(groups[best]) if best is not None else 0
    tied = sum(len(group) == size for group in groups.values()) > 1
    return Tally(best if size >= quorum and not tied else None, size)


def judge(opening: RootReveal, agreed: Answer) -> Judgement:
    """What one replica's opening is worth under the agreed answer."""
    if answer_of(opening) != agreed:
        return Judgement.OUTVOTED
    return Judgement.AGREED if agreed[0] is OutcomeStatus.OK else Judgement.KERNEL_AT_FAULT


def verdict_fault(verdict: Verdict, opening: RootReveal, assignment: Assignment, moved_bytes: int) -> str:
    """Why a verdict in a provider's favour is not one it can accept; empty when it is. `moved_bytes` are those it is to
    be paid for. Without this a requester could name any price and still be given the data."""
    if verdict.agreed_roots != opening.output_roots:
        return "the agreed roots are not mine"
    recomputed = assignment.policy.keeps_states
    fits = {Judgement.AGREED} | ({Judgement.KERNEL_AT_FAULT} if recomputed else set())
    if verdict.judgement not in (fits if opening.status is OutcomeStatus.OK else {Judgement.KERNEL_AT_FAULT}):
        return "the judgement does not fit my outcome"
    if not price_floor(assignment, moved_bytes) <= verdict.price <= assignment.price_ceiling:
        return "the price is outside what was assigned"
    return ""


def nonce_of(secret: bytes, reservation: bytes, job: bytes) -> bytes:
    """What a requester draws samples with: 32 bytes only it can make, the same after every crash."""
    return blake3(reservation + job, key=secret).digest()


def nonce_commitment(nonce: bytes) -> bytes:
    """Binds the requester to a nonce it will open later."""
    return blake3(nonce).digest()
