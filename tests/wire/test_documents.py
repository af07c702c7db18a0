"""Rules D1 to D9 of docs/spec/documents.md."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.delegation import Capability, Delegation
from p2pcompute.identity.keys import verify
from p2pcompute.wire import codec, limits
from p2pcompute.wire import documents as d
from tests.wire.strategies import EPOCH, KEYS, NETWORK, WALL_MS, bodies, body, seal

SAMPLE = d.Cheque(payee=b"p" * 32, cumulative=300, receipt=b"r" * 32)


def opened(raw: bytes, network: str = NETWORK) -> d.AnyDocument:
    return d.open_document(network, raw, verify)


def fields_of(raw: bytes) -> list[Any]:
    """The nine fields, by the independent decoder."""
    fields = msgpack.unpackb(raw)
    assert isinstance(fields, list)
    return fields


def signed(fields: list[Any], *, network: str = NETWORK) -> bytes:
    """A document made by the independent encoder out of eight fields, with an honest signature."""
    unsigned = b"".join(msgpack.packb(f) for f in fields[:8])
    signature = KEYS[0].sign(codec.domain_tag(network) + unsigned)
    return b"\x99" + unsigned + msgpack.packb(signature)


def plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        held = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        return list(held.values()) if value.__struct_config__.array_like else held
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("schema", list(d.SCHEMAS.values()), ids=lambda s: s.__name__)
def test_every_kind_comes_back_as_it_was_written(schema: type[msgspec.Struct]) -> None:
    @settings(max_examples=15)
    @given(body(schema))
    def round_trip(contents: msgspec.Struct) -> None:
        written = seal(contents)
        assert opened(written.raw) == written

    round_trip()


def test_an_offer_states_every_field_even_those_with_a_default() -> None:
    offer = d.Offer(b"", (), "cpu", "m", "c", "jail", "r", 1, 1, 1, 1, 1, 1, 1)
    fields = fields_of(seal(offer).raw)
    assert signed(fields) == seal(offer).raw
    fields[7] = fields[7][:14]
    with pytest.raises(DecodeError, match="canonical"):
        opened(signed(fields))


@settings(max_examples=60)
@given(bodies)
def test_an_independent_encoder_writes_the_same_bytes(contents: msgspec.Struct) -> None:
    written = seal(contents)
    values = [plain(getattr(contents, name)) for name in contents.__struct_fields__]
    envelope = [1, int(written.kind), written.signer, EPOCH, written.sequence, WALL_MS, written.expires_at, values]
    assert signed(envelope) == written.raw


@settings(max_examples=300)
@given(bodies, st.data())
def test_a_mutated_document_is_refused_and_nothing_else(contents: msgspec.Struct, data: st.DataObject) -> None:
    raw = bytearray(seal(contents).raw)
    at = data.draw(st.integers(0, len(raw) - 1))
    how = data.draw(st.sampled_from(("flip", "insert", "remove", "cut")))
    if how == "flip":
        raw[at] ^= data.draw(st.integers(1, 255))
    elif how == "insert":
        raw[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    elif how == "remove":
        del raw[at]
    else:
        del raw[at:]
    with pytest.raises((DecodeError, SignatureError)):
        opened(bytes(raw))


@settings(max_examples=300)
@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda tail: b"\x99\x01\x33\xc4\x20" + bytes(32) + tail))
def test_arbitrary_bytes_are_refused_with_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        opened(raw)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.sampled_from(list(d.Kind)), _values)
def test_a_body_of_another_shape_is_refused_with_a_decode_error(kind: d.Kind, contents: object) -> None:
    raw = signed([1, int(kind), KEYS[0].public, EPOCH, 1, 1, 2, contents])
    try:
        assert opened(raw).raw == raw
    except DecodeError:
        return
    assert isinstance(contents, list)


def test_deep_nesting_is_refused() -> None:
    raw = b"\x99\x01\x33" + msgpack.packb(KEYS[0].public) + msgpack.packb(EPOCH) + b"\x01\x01\x02" + b"\x91" * 60_000
    with pytest.raises(DecodeError):
        opened(raw)


@pytest.mark.parametrize(
    ("where", "before", "after"),
    [
        ("version", b"\x99\x01", b"\x99\xcc\x01"),
        ("kind", b"\x01\x33\xc4", b"\x01\xcd\x00\x33\xc4"),
        ("signer's length", b"\xc4\x20" + KEYS[0].public, b"\xc5\x00\x20" + KEYS[0].public),
        ("body's length", b"\x94\xc4\x20p", b"\xdc\x00\x04\xc4\x20p"),
        ("amount", b"\xcd\x01\x2c", b"\xce\x00\x00\x01\x2c"),
        ("amount as a float", b"\xcd\x01\x2c", msgpack.packb(300.0)),
        ("amount as NaN", b"\xcd\x01\x2c", msgpack.packb(float("nan"))),
        ("amount below zero", b"\xcd\x01\x2c", b"\xff"),
        ("payee as text", b"\xc4\x20ppp", b"\xd9\x20ppp"),
        ("payee too short", b"\xc4\x20p", b"\xc4\x1f"),
        ("field too many", b"\x94\xc4\x20p", b"\x95\xc0\xc4\x20p"),
        ("field too few", b"\x94\xc4\x20p" + b"p" * 31, b"\x93"),
    ],
)
def test_what_is_not_canonical_is_refused_even_when_signed(where: str, before: bytes, after: bytes) -> None:
    raw = seal(SAMPLE).raw[:-66]
    assert raw.count(before) == 1, where
    unsigned = raw.replace(before, after)
    signature = KEYS[0].sign(codec.domain_tag(NETWORK) + unsigned[1:])
    with pytest.raises(DecodeError):
        opened(unsigned + b"\xc4\x40" + signature)


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(DecodeError):
        opened(seal(SAMPLE).raw + b"\xc0")


def test_a_document_above_the_size_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DecodeError, match=f"the limit is {limits.DOCUMENT_BYTES_MAX}"):
        opened(bytes(limits.DOCUMENT_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (2, b"k" * 31),
        (3, b"e" * 9),
        (4, -1),
        (4, 2**63),
        (5, -1),
        (5, 10**13),
        (6, WALL_MS),
        (6, 2**63),
        (6, WALL_MS + limits.DOCUMENT_LIFETIME_MS_MAX + 1),
    ],
)
def test_envelope_fields_outside_their_bounds_are_refused(index: int, value: object) -> None:
    fields = fields_of(seal(SAMPLE).raw)
    fields[index] = value
    with pytest.raises(DecodeError):
        opened(signed(fields))


@pytest.mark.parametrize("index", range(2, 7))
def test_the_signature_covers_every_field_of_the_envelope(index: int) -> None:
    raw = seal(SAMPLE).raw
    fields = fields_of(raw)
    other = {2: KEYS[1].public, 3: b"epoch 02", 4: 7, 5: WALL_MS - 1, 6: WALL_MS + 60_001}
    fields[index] = other[index]
    changed = b"\x99" + b"".join(msgpack.packb(f) for f in fields[:8]) + raw[-66:]
    with pytest.raises(SignatureError):
        opened(changed)


def test_the_signature_covers_the_body() -> None:
    raw = seal(SAMPLE).raw
    with pytest.raises(SignatureError):
        opened(raw.replace(b"\xcd\x01\x2c", b"\xcd\x01\x2d"))


def test_the_signature_covers_the_kind() -> None:
    raw = seal(d.Release(reservation=b"x" * 32)).raw
    as_delivery = raw.replace(b"\x99\x01" + bytes([d.Kind.RELEASE]), b"\x99\x01" + bytes([d.Kind.DELIVERY]))
    assert as_delivery != raw
    with pytest.raises(SignatureError):
        opened(as_delivery)


def test_a_document_of_one_network_means_nothing_in_another() -> None:
    with pytest.raises(SignatureError):
        opened(seal(SAMPLE).raw, "elsewhere")


def test_the_id_does_not_depend_on_the_signature() -> None:
    raw = seal(SAMPLE).raw
    assert codec.document_id(raw) == codec.document_id(raw[:-64] + bytes(64))
    assert codec.document_id(raw) == blake3(raw[1:-66]).digest() == opened(raw).id


@pytest.mark.parametrize(("index", "value"), [(0, 2), (1, 99), (1, -5)])
def test_versions_and_kinds_from_the_future_are_unknown_rather_than_faulty(index: int, value: int) -> None:
    fields = fields_of(seal(SAMPLE).raw)
    fields[index] = value
    with pytest.raises(d.UnknownDocumentError):
        opened(signed(fields))


def test_a_document_is_in_force_from_its_issue_less_the_skew_until_it_expires() -> None:
    document = seal(SAMPLE, lifetime_ms=1_000)
    times = (-limits.CLOCK_SKEW_MS_MAX - 1, -limits.CLOCK_SKEW_MS_MAX, 999, 1_000)
    assert [document.alive(WALL_MS + t) for t in times] == [False, True, True, False]


def test_an_author_never_reuses_a_sequence_even_when_the_clock_steps_back() -> None:
    author = d.Author(NETWORK, KEYS[0].public, EPOCH, KEYS[0].sign)
    times = (WALL_MS, WALL_MS, WALL_MS - 5_000, WALL_MS + 1)
    sequences = [author.write(t, SAMPLE, lifetime_ms=1).sequence for t in times]
    assert sequences == sorted(set(sequences))


def test_an_author_goes_on_above_what_its_journal_held() -> None:
    author = d.Author(NETWORK, KEYS[0].public, EPOCH, KEYS[0].sign)
    author.seen(2**62)
    assert author.write(WALL_MS, SAMPLE, lifetime_ms=1).sequence == 2**62 + 1


def test_body_of_refuses_another_kind() -> None:
    assert d.body_of(seal(SAMPLE), d.Cheque) == SAMPLE
    with pytest.raises(DecodeError, match="expected a Receipt, got a Cheque"):
        d.body_of(seal(SAMPLE), d.Receipt)


def test_a_delegation_opens_to_its_grant() -> None:
    document = seal(Delegation(KEYS[1].public, Capability.PROVIDE), lifetime_ms=5_000)
    grant = d.open_delegation(NETWORK, document.raw, verify)
    assert (grant.operator, grant.subject, grant.capabilities) == (KEYS[0].public, KEYS[1].public, Capability.PROVIDE)
    assert (grant.issued_at, grant.expires_at) == (WALL_MS, WALL_MS + 5_000)


@pytest.mark.parametrize("subject", [b"", b"s" * 31, b"s" * 33])
def test_a_delegation_to_anything_but_a_key_is_refused(subject: bytes) -> None:
    with pytest.raises(DecodeError):
        opened(seal(Delegation(subject, Capability.PROVIDE)).raw)


def test_unknown_capability_bits_are_refused_and_leave_no_trace_in_memory() -> None:
    known = len(Capability._value2member_map_)
    for bits in range(4, 40):
        with pytest.raises(DecodeError):
            opened(signed([1, int(d.Kind.DELEGATION), KEYS[0].public, EPOCH, 1, 1, 2, [bytes(32), bits]]))
    assert len(Capability._value2member_map_) == known
