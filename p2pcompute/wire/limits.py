"""Named bounds. Every map, queue, message and number that a peer can grow has its limit here.

Units stand last in each name. A limit is checked once, at the border where the bytes come in.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024
GIB: Final = 1024 * 1024 * 1024

# Documents and messages ------------------------------------------------------------------------------------------
DOCUMENT_BYTES_MAX: Final = 64 * KIB
"""One signed document. The largest, an Offer with eight addresses and a delegation, is under 2 KiB."""
GOSSIP_RPC_BYTES_MAX: Final = 256 * KIB
RPC_FRAME_BYTES_MAX: Final = 256 * KIB
"""One request or response frame between two peers."""
ADDRESSES_MAX: Final = 8
ADDRESS_BYTES_MAX: Final = 256
LABEL_BYTES_MAX: Final = 64
"""Region, model, class and other short names."""
LABELS_MAX: Final = 16
"""Jurisdictions an offer can state."""
REASON_BYTES_MAX: Final = 512
"""A sentence for a person inside a Decline or Failure."""

# Time ------------------------------------------------------------------------------------------------------------
CLOCK_SKEW_MS_MAX: Final = 30_000
"""How far a peer's wall clock may differ from ours before its documents look not yet valid."""
OFFER_LIFETIME_MS: Final = 600_000
QUOTE_LIFETIME_MS: Final = 2_000
QUOTE_WAIT_MS: Final = 500
DOCUMENT_LIFETIME_MS_MAX: Final = 400 * 24 * 3600 * 1000
"""Longest validity any document may claim; only delegations come near it."""

# Manifests -------------------------------------------------------------------------------------------------------
MANIFEST_BYTES_MAX: Final = 256 * KIB
SOURCES_MAX: Final = 64
SOURCE_BYTES_MAX: Final = 4 * MIB
PTX_BYTES_MAX: Final = 8 * MIB
BUFFERS_MAX: Final = 128
BUFFER_BYTES_MAX: Final = 16 * GIB
LAUNCHES_MAX: Final = 1_024
REPEATS_MAX: Final = 1_000_000
ARGUMENTS_MAX: Final = 256
ARGUMENT_BYTES_MAX: Final = 32_764
"""CUDA's own limit on the bytes of all parameters of a kernel, since 12.1 for sm_70 and later (PTX ISA 8.1)."""
DEFINES_MAX: Final = 256
DEFINE_BYTES_MAX: Final = 1_024
INSTANCES_MAX: Final = 64
CONSTANTS_MAX: Final = 256
FLAG_BYTES_MAX: Final = 4 * KIB
BLOCK_THREADS_MAX: Final = 1_024
BLOCK_DIMS_MAX: Final = (1_024, 1_024, 64)
GRID_DIMS_MAX: Final = (2**31 - 1, 65_535, 65_535)
SHARED_BYTES_MAX: Final = 227 * KIB
DEVICE_MS_MAX: Final = 24 * 3600 * 1000
MEMORY_BYTES_MAX: Final = 64 * GIB
SNAPSHOT_STEPS_MAX: Final = 64
"""Steps of a task whose states are kept; their roots, 32 bytes for each buffer, travel in one document."""
STATE_ROOTS_MAX: Final = 1_024
"""Roots of all kept states together: 32 KiB of an opening."""
SNAPSHOT_BYTES_MAX: Final = GIB
"""All kept states of a task together, equal ones counted again: a provider's disk writes so much for one task."""

# Book and market -------------------------------------------------------------------------------------------------
OFFERS_MAX: Final = 200_000
OFFERS_PER_OPERATOR_MAX: Final = 1_024
DEMANDS_MAX: Final = 8_192
DEMANDS_PER_OPERATOR_MAX: Final = 16
PROPOSALS_PER_DEMAND_MAX: Final = 16
PROOFS_MAX: Final = 16_384
"""Keys convicted of equivocation that a book remembers; some 1.5 KB each."""
PROOF_LIFETIME_MS: Final = 30 * 24 * 3600 * 1000
"""How long books refuse a convicted key; a new key costs nothing, so longer would gain nothing."""
REPLICAS_MAX: Final = 16
PROBES_MAX: Final = 16
PROBES_BUSY_MAX: Final = 48
"""Asked at once where few of them are free."""
SAMPLES_MAX: Final = 4_096
"""Blocks recomputed of one task."""
SCAN_MAX: Final = 1_024
"""Listings one query looks at before it is content with what it found: a millisecond or two."""
NEEDS_LISTED_MAX: Final = 256
"""Regions, jurisdictions or operators that a need allows or denies."""
SIGHTINGS_MAX: Final = 4
"""Reservations shown in a probe: those of the last task or two, some 350 bytes each."""
SLOTS_MAX: Final = 1_024
ASSIGNMENTS_MAX: Final = 4_096
"""Assignments that one reservation is good for."""
RENEWALS_MAX: Final = 64
"""The most that an operator can let a lease without work be renewed: half an hour of 30 s each."""
PRICE_MAX: Final = 10**15
"""Micro-credits. Keeps every product with a duration inside 64 bits."""

# Blobs -----------------------------------------------------------------------------------------------------------
BLOB_LEAF_BYTES: Final = 4 * KIB
BLOB_CHUNK_BYTES: Final = 256 * KIB
"""What travels in one piece: 64 leaves and the tree path that proves them."""
PIECE_RANGES_MAX: Final = 256
"""Runs of leaves that one request may name."""
PIECE_LEAVES_MAX: Final = 1_024
"""Leaves that one request may ask for: 4 MiB."""
FRAUD_PIECES_MAX: Final = 1_024
FRAUD_BYTES_MAX: Final = 64 * MIB
"""A fraud proof: the task's PTX, and the leaves of all portions from which one block's were taken."""
