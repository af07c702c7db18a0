"""Wire bytes to the book: strict decoding, signature, rules, against a bare PyNaCl verification of the same bytes."""

from __future__ import annotations

import random
from typing import Final

from nacl.bindings import crypto_sign_open

from p2pcompute.identity.delegation import Capability, Delegation
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.machine import Environment, Now, Ruling
from p2pcompute.protocol.post import Post
from p2pcompute.wire import codec
from p2pcompute.wire import documents as d
from tests.bench.timing import side_by_side

GOALS: Final = {"ratio": (">=", 0.85), "duplicate_ratio": (">=", 20.0)}
ROUNDS: Final = 41
NETWORK: Final = "bench"
NOW: Final = Now(0, 1_800_000_000_000)


def measure(*, quick: bool) -> dict[str, object]:
    """`ratio`: offers ingested per second over bare verifications per second. `duplicate_ratio`: the same for offers
    the book has already."""
    count = 50 if quick else 500  # short rounds, and many: what disturbs the machine disturbs all three alike
    offers = [_offer(i) for i in range(count)]
    bare = [_signed(raw) for raw in offers]

    def verify_bare() -> None:
        for signed, key in bare:
            crypto_sign_open(signed, key)

    def ingest() -> None:
        book = _book()
        for raw in offers:
            assert book.judge(NOW, raw)[0] is Ruling.ACCEPT

    known = _book()
    for raw in offers:
        known.judge(NOW, raw)

    def ingest_again() -> None:
        for raw in offers:
            assert known.judge(NOW, raw)[0] is Ruling.IGNORE

    seconds = side_by_side({"bare": verify_bare, "ingest": ingest, "again": ingest_again}, 3 if quick else ROUNDS)
    return {
        "ratio": seconds["bare"] / seconds["ingest"],
        "duplicate_ratio": seconds["bare"] / seconds["again"],
        "offers_per_s": count / seconds["ingest"],
        "offer_bytes": len(offers[0]),
    }


def _book() -> Book:
    key = KeyPair(bytes(32))
    env = Environment(key.public, key.sign, verify, random.Random(0), bytes(32))
    return Book(Post(env, NETWORK, bytes(8), b""))


def _offer(i: int) -> bytes:
    operator, node = KeyPair(bytes([1]) * 32), KeyPair(i.to_bytes(32, "big"))
    lent = d.Author(NETWORK, operator.public, bytes(8), operator.sign).write(
        NOW.wall_ms - 1000, Delegation(node.public, Capability.PROVIDE), lifetime_ms=10**9
    )
    body = d.Offer(
        delegation=lent.raw if i % 100 == 0 else b"",
        addresses=("/ip4/203.0.113.7/tcp/9471/p2p/12D3KooWEfY2TmhEWp1scTkNTgGcB6sBdaeicFJXJjeBmUpFMyg8",),
        engine="cpu",
        model="a processor of some kind",
        numeric_class="cpu-1",
        isolation="jail",
        region="eu-west",
        memory_bytes_max=2**32,
        device_ms_max=3_600_000,
        slots=2,
        mflops=70_000,
        copy_mb_s=6_000,
        price_per_device_s=1_000_000 + i,
        price_minimum=1_000,
    )
    author = d.Author(NETWORK, node.public, bytes(8), node.sign)
    return author.write(NOW.wall_ms, body, lifetime_ms=600_000).raw


def _signed(raw: bytes) -> tuple[bytes, bytes]:
    """What libsodium verifies, ready-made: signature and message in one piece."""
    return raw[-64:] + codec.domain_tag(NETWORK) + raw[1:-66], codec.open_envelope(raw).signer
