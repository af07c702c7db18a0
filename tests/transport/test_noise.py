"""The handshake and the transport phase, against ourselves and against the `noiseprotocol` package."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from p2pcompute.transport import noise
from p2pcompute.transport.noise import Handshake, NoiseError, Session

ALICE, BOB = noise.signer(b"\x01" * 32), noise.signer(b"\x02" * 32)


def pair() -> tuple[Handshake, Handshake]:
    alice = Handshake(initiator=True, public=ALICE[0], sign=ALICE[1])
    return alice, Handshake(initiator=False, public=BOB[0], sign=BOB[1])


def sessions() -> tuple[Session, Session]:
    alice, bob = pair()
    second = bob.receive(alice.start()[2:])
    third = alice.receive(second[2:])
    assert bob.receive(third[2:]) == b""
    assert alice.session is not None
    assert bob.session is not None
    assert (alice.peer, bob.peer) == (BOB[0], ALICE[0])
    return alice.session, bob.session


def identity_payload(who: tuple[bytes, noise.Sign], static: bytes) -> bytes:
    signature = who[1](noise.SIGNATURE_PREFIX + static)
    return b"\x0a\x24" + noise.IDENTITY_PREFIX + who[0] + b"\x12\x40" + signature


def stranger(*, initiator: bool) -> tuple[NoiseConnection, bytes]:
    """Another implementation of Noise, and the public part of its static key."""
    private = X25519PrivateKey.generate()
    other = NoiseConnection.from_name(noise.PROTOCOL)
    other.set_as_initiator() if initiator else other.set_as_responder()
    other.set_keypair_from_private_bytes(Keypair.STATIC, private.private_bytes_raw())
    other.start_handshake()
    return other, private.public_key().public_bytes_raw()


def test_both_sides_learn_the_other_key_and_exchange_data() -> None:
    alice, bob = sessions()
    for sender, receiver in ((alice, bob), (bob, alice)):
        assert receiver.open(bytes(sender.seal(b"hello"))) == [b"hello"]


def test_we_dial_another_implementation() -> None:
    other, static = stranger(initiator=False)
    alice, _ = pair()
    other.read_message(alice.start()[2:])
    third = alice.receive(bytes(other.write_message(identity_payload(BOB, static))))
    payload = bytes(other.read_message(third[2:]))
    assert alice.peer == BOB[0]
    assert payload[6:38] == ALICE[0]
    assert alice.session is not None
    assert bytes(other.decrypt(bytes(alice.session.seal(b"to you"))[2:])) == b"to you"
    assert alice.session.open(noise.frame(bytes(other.encrypt(b"to me")))) == [b"to me"]


def test_another_implementation_dials_us() -> None:
    other, static = stranger(initiator=True)
    _, bob = pair()
    second = bob.receive(bytes(other.write_message()))
    other.read_message(second[2:])
    bob.receive(bytes(other.write_message(identity_payload(ALICE, static))))
    assert bob.peer == ALICE[0]
    assert bob.session is not None
    assert bob.session.open(noise.frame(bytes(other.encrypt(b"to you")))) == [b"to you"]


def test_a_signature_over_another_key_is_refused() -> None:
    other, _ = stranger(initiator=False)
    alice, _ = pair()
    other.read_message(alice.start()[2:])
    with pytest.raises(NoiseError, match="signature"):
        alice.receive(bytes(other.write_message(identity_payload(BOB, b"\x09" * 32))))


def test_an_identity_of_another_key_type_is_refused() -> None:
    other, _ = stranger(initiator=False)
    alice, _ = pair()
    other.read_message(alice.start()[2:])
    with pytest.raises(NoiseError, match="not an ed25519 key"):
        alice.receive(bytes(other.write_message(b"\x0a\x05\x08\x02\x12\x01\x00\x12\x01\x00")))


def test_a_key_of_low_order_is_refused() -> None:
    _, bob = pair()
    with pytest.raises(NoiseError, match="low order"):
        bob.receive(bytes(32))


def test_a_message_out_of_turn_is_refused() -> None:
    alice, bob = pair()
    third = alice.receive(bob.receive(alice.start()[2:])[2:])
    bob.receive(third[2:])
    with pytest.raises(NoiseError, match="out of turn"):
        bob.receive(third[2:])


def test_a_changed_message_does_not_authenticate() -> None:
    alice, bob = sessions()
    wire = alice.seal(b"hello")
    wire[5] ^= 1
    with pytest.raises(NoiseError, match="authenticate"):
        bob.open(bytes(wire))


def test_a_replayed_message_does_not_authenticate() -> None:
    alice, bob = sessions()
    wire = bytes(alice.seal(b"pay 10"))
    bob.open(wire)
    with pytest.raises(NoiseError, match="authenticate"):
        bob.open(wire)


@given(size=st.sampled_from([0, 1, 65_518, 65_519, 65_520, 200_000]), cut=st.integers(0, 300_000))
def test_any_size_arrives_whole_however_it_is_cut(size: int, cut: int) -> None:
    alice, bob = sessions()
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    wire = bytes(alice.seal(data))
    parts = bob.open(wire[:cut]) + bob.open(wire[cut:])
    assert b"".join(parts) == data


@given(
    flips=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**6), st.integers(1, 255)), max_size=3),
    cut=st.integers(0, 300),
)
def test_a_damaged_handshake_raises_only_noise_error(flips: list[tuple[int, int, int]], cut: int) -> None:
    alice, bob = pair()
    message = alice.start()[2:]
    try:
        for turn, side in enumerate((bob, alice, bob)):
            damaged = bytearray(message)
            for at, position, mask in flips:
                if at == turn and damaged:
                    damaged[position % len(damaged)] ^= mask
            message = side.receive(bytes(damaged[: len(damaged) - cut if cut < len(damaged) else None]))[2:]
    except NoiseError:
        return


@given(st.binary(max_size=200))
def test_garbage_in_the_transport_phase_raises_only_noise_error(data: bytes) -> None:
    _, bob = sessions()
    try:
        bob.open(data)
    except NoiseError:
        return
