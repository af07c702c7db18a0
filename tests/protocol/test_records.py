"""Journal records come back as they were written; anything else is damage, said in one sentence."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import HomeError
from p2pcompute.protocol import records
from p2pcompute.protocol.matching import Needs
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import Policy

NEEDS = Needs(engine="cpu", regions=("here",), operators=(b"o" * 32,))
OPENING = d.RootReveal(b"c" * 32, b"s" * 32, "cpu", "exact", d.OutcomeStatus.TRAP, (), 1, "why")


def sample(kind: type) -> records.AnyRecord:
    """A record of this kind with plain contents."""
    values: dict[object, object] = {bytes: b"bytes", int: 7, str: "text", bool: True}
    values |= {d.RootReveal: OPENING, Needs: NEEDS}
    values |= {
        tuple[bytes, int]: (b"root", 7),
        Policy: Policy(replicas=3),
        tuple[tuple[int, ...], ...]: ((1, 2), (3,)),
        tuple[int, ...]: (1, 2),
        tuple[str, ...]: ("a", "b"),
        tuple[bytes, ...]: (b"a",),
        tuple[tuple[bytes, bytes], ...]: ((b"a", b"b"),),
    }
    hints = typing.get_type_hints(kind)
    return kind(**{name: values[hints[name]] for name in kind.__struct_fields__})  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("kind", typing.get_args(records.AnyRecord), ids=lambda k: k.__name__)
def test_every_record_comes_back_as_it_was_written(kind: type) -> None:
    record = sample(kind)
    assert records.decode_record(records.encode_record(record)) == record


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda tail: b"\x92\xa3job" + tail))
def test_other_bytes_are_damage(data: bytes) -> None:
    try:
        record: object = records.decode_record(data)
    except HomeError:
        return
    assert isinstance(record, records.Record)


def test_damage_names_the_next_step() -> None:
    with pytest.raises(HomeError, match="restore the home from a backup"):
        records.decode_record(b"junk")


def test_every_record_is_tagged_with_a_word_of_its_own() -> None:
    tags = [records.encode_record(sample(kind))[1:6] for kind in typing.get_args(records.AnyRecord)]
    assert len(set(tags)) == len(tags)
