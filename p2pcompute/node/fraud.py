"""Executing a fraud proof again: does this provider's committed result really not follow from its own states?

Nothing here is believed: signatures, the commitment, the task, and every leaf are checked before a block runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from p2pcompute.compute.blocks import Asked
from p2pcompute.compute.sampling.pages import Pages, Spans
from p2pcompute.errors import DecodeError, P2PComputeError, SignatureError, VerificationError
from p2pcompute.identity import names
from p2pcompute.node.inspection import misfit, recompute
from p2pcompute.node.states import Holding, MissingError
from p2pcompute.protocol import verification
from p2pcompute.protocol.machine import Finding, Point
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.codec import Verify
from p2pcompute.wire.fraud import FraudProof, Piece
from p2pcompute.wire.manifest import Manifest, decode_manifest, manifest_id
from p2pcompute.wire.steps import state_buffers

NO_BLOCK: Final = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Fraud:
    """A proven one. `provider`: the key that committed to it; `sentence`: what it is, for a person."""

    provider: bytes
    task: str
    sentence: str


class ProvenStates:
    """The states of a task as far as a proof shows them."""

    def __init__(self, manifest: Manifest, opening: d.RootReveal, pieces: Iterable[Piece]) -> None:
        """Raises DecodeError for a piece that its root does not prove."""
        self._manifest, self._opening = manifest, opening
        self._places = {number: place for place, number in enumerate(state_buffers(manifest))}
        self._leaves: dict[tuple[bytes, int], dict[int, bytes]] = {}
        for piece in pieces:
            if not piece.is_proven:
                raise DecodeError("a piece is not proven by its root")
            self._leaves.setdefault((piece.root, piece.size_bytes), {}).update(piece.contents())
        self._holdings: dict[tuple[bytes, int], Holding] = {}

    def holding(self, state: int, number: int) -> Holding:
        """As node.states.States has it; all that is known of it is in the proof."""
        buffer = self._manifest.buffers[number]
        is_own = buffer.is_pure_input or not state
        root = buffer.root if is_own else self._opening.states[state - 1][self._places[number]]
        key = root, buffer.size_bytes
        if key not in self._holdings:
            is_zero = not root or not buffer.size_bytes
            pages = Pages(buffer.size_bytes, is_zero=is_zero)
            if not is_zero:
                pages.add(self._leaves.get(key, {}))
            self._holdings[key] = Holding(root, pages)
        return self._holdings[key]

    async def know(self, holding: Holding, spans: Spans) -> bool:
        """Nothing more can be had. Raises MissingError for bytes that are not in the proof."""
        missing = holding.pages.missing(spans)
        if missing:
            raise MissingError(f"the proof does not hold leaf {missing[0]} of blob {holding.root.hex()[:16]}")
        return False

    def lay_local(self, holdings: Iterable[Holding]) -> None:
        """There is no local store."""

    def proven(self, holding: Holding, spans: Spans) -> list[Piece]:
        """Nobody is to be told what the proof itself says."""
        return []

    def check_local(self) -> None:
        """Every leaf was checked."""


async def verify_fraud(network: str, proof: FraudProof, engine: Asked, verify: Verify) -> Fraud:
    """Raises VerificationError, with the reason, for what proves nothing."""
    try:
        manifest, commitment, opening = _bound(network, proof, verify)
        e, states = proof.evidence, ProvenStates(manifest, opening, proof.evidence.pieces)
        point = Point(e.step, e.buffer, e.byte)
        fault = misfit(manifest, opening.states, (point,))
        if fault:
            raise DecodeError(fault)
        found = await recompute(engine, manifest, proof.ptx, states, point)
    except (DecodeError, SignatureError) as error:
        raise VerificationError(f"this proves nothing: {error}") from error
    except P2PComputeError as error:
        raise VerificationError(f"this could not be executed again: {error}") from error
    if found.finding is not Finding.WRONG or found.block != e.block:
        raise VerificationError(f"this proves nothing: {found.reason or 'the block computes what was committed to'}")
    return Fraud(commitment.signer, manifest.name, found.reason)


def _bound(network: str, proof: FraudProof, verify: Verify) -> tuple[Manifest, d.AnyDocument, d.RootReveal]:
    """The task and what the provider committed to, by its own signatures. Raises DecodeError or SignatureError."""
    assignment = d.open_document(network, proof.assignment, verify)
    commitment = d.open_document(network, proof.commitment, verify)
    opened = d.open_document(network, proof.opening, verify)
    terms, opening = d.body_of(assignment, d.Assignment), d.body_of(opened, d.RootReveal)
    committed = d.body_of(commitment, d.Commitment)
    manifest = decode_manifest(proof.manifest)
    fault = verification.opening_fault(opening, manifest, terms.policy)
    for holds, what in (
        (opened.signer == commitment.signer, "commitment and opening have different signers"),
        (committed.assignment == assignment.id, "the commitment is for another assignment"),
        (opening.commitment == commitment.id, "the opening is of another commitment"),
        (manifest_id(proof.manifest) == terms.manifest, "the task is not the one assigned"),
        (merkle.blob_root(proof.ptx) == manifest.ptx_root, "the PTX is not the task's"),
        (not fault and bool(opening.states), fault or "the opening has no states"),
        (
            committed.root == verification.commitment_root(assignment.id, terms.manifest, manifest, opening),
            f"{names.short(opened.signer)} committed to something else",
        ),
    ):
        if not holds:
            raise DecodeError(what)
    return manifest, commitment, opening
