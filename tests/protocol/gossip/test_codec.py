from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.protocol.gossip import codec
from tests.protocol.gossip.harness import TOPIC, environment

ENV = environment(1)
MESSAGE = codec.encode_message(ENV.me, TOPIC, b"data", 7, ENV.sign)


def test_our_message_is_read_by_another_implementation() -> None:
    rpc = rpc_pb2.RPC.FromString(MESSAGE.part)
    (message,) = rpc.publish
    assert message.from_id == PEER_ID_PREFIX + ENV.me
    assert (message.data, message.seqno, list(message.topicIDs)) == (b"data", (7).to_bytes(8, "big"), [TOPIC])
    bare = rpc_pb2.Message(from_id=message.from_id, data=message.data, seqno=message.seqno, topicIDs=message.topicIDs)
    assert ENV.verify(ENV.me, b"libp2p-pubsub:" + bare.SerializeToString(), message.signature)


def test_our_control_parts_are_read_by_another_implementation() -> None:
    parts = [
        codec.encode_subscription(TOPIC, subscribe=True),
        codec.encode_subscription(TOPIC, subscribe=False),
        codec.encode_graft(TOPIC),
        codec.encode_prune(TOPIC, 60),
        codec.encode_ihave(TOPIC, [b"id1", b"id2"]),
        codec.encode_iwant([b"id3"]),
    ]
    rpc = rpc_pb2.RPC.FromString(b"".join(parts))
    assert [(one.subscribe, one.topicid) for one in rpc.subscriptions] == [(True, TOPIC), (False, TOPIC)]
    assert [one.topicID for one in rpc.control.graft] == [TOPIC]
    assert [(one.topicID, one.backoff) for one in rpc.control.prune] == [(TOPIC, 60)]
    assert [(one.topicID, list(one.messageIDs)) for one in rpc.control.ihave] == [(TOPIC, [b"id1", b"id2"])]
    assert [list(one.messageIDs) for one in rpc.control.iwant] == [[b"id3"]]


def test_what_we_write_we_read() -> None:
    rpc = codec.decode_rpc(
        b"".join(
            (
                codec.encode_subscription(TOPIC, subscribe=True),
                MESSAGE.part,
                codec.encode_graft("a"),
                codec.encode_prune("b", 60),
                codec.encode_ihave("c", [b"1", b"2"]),
                codec.encode_iwant([b"3"]),
            )
        )
    )
    assert rpc == codec.Rpc(
        subscriptions=[(True, TOPIC)],
        messages=[MESSAGE],
        ihave=[("c", [b"1", b"2"])],
        iwant=[[b"3"]],
        graft=["a"],
        prune=[codec.Prune("b", 60)],
    )


IDS = st.one_of(st.binary(min_size=20, max_size=20), st.binary(max_size=codec.ID_BYTES_MAX))


@given(st.lists(st.binary(min_size=20, max_size=20), max_size=30) | st.lists(IDS, max_size=8), st.text(max_size=40))
def test_an_ihave_is_read_as_another_implementation_reads_it(ids: list[bytes], topic: str) -> None:
    part = codec.encode_ihave(topic, ids)
    (theirs,) = rpc_pb2.RPC.FromString(part).control.ihave
    assert codec.decode_rpc(part).ihave == [(theirs.topicID, list(theirs.messageIDs))] == [(topic, ids)]


def test_a_frame_of_one_message_is_forwarded_as_it_came() -> None:
    alone = codec.sole_message(MESSAGE.part)
    assert alone == MESSAGE == codec.decode_rpc(MESSAGE.part + MESSAGE.part).messages[1]
    assert alone.part is MESSAGE.part
    assert ENV.verify(alone.source, alone.signed, alone.signature)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x12",
        b"\x12\x05ab",
        MESSAGE.part + MESSAGE.part,
        MESSAGE.part + codec.encode_graft("a"),
        b"\x12\x02\x0a\x00",
    ],
)
def test_other_frames_are_no_sole_message(frame: bytes) -> None:
    assert codec.sole_message(frame) is None


def test_a_message_behind_a_longer_length_than_needed_is_forwarded_in_the_usual_form() -> None:
    body = raw()
    padded = bytes((0x12, len(body) & 127 | 128, len(body) >> 7 | 128, 0)) + body
    assert codec.sole_message(padded) == MESSAGE


def raw() -> bytes:
    return MESSAGE.part[2 + (len(MESSAGE.part) > 130) :]


def test_a_message_with_its_key_is_accepted_when_it_is_the_publishers() -> None:
    with_key = raw() + b"\x32\x24\x08\x01\x12\x20" + ENV.me
    assert codec.decode_message(with_key).signed == MESSAGE.signed
    with pytest.raises(DecodeError):
        codec.decode_message(raw() + b"\x32\x24\x08\x01\x12\x20" + bytes(32))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        raw() + raw(),
        raw() + b"\x22\x01a",
        raw()[:-66],
        raw().replace(PEER_ID_PREFIX, b"\x00\x25\x08\x01\x12\x20"),
        raw().replace(b"\x22\x0fp2pcompute/test", b"\x22\x0f" + b"\xff" * 15),
        raw() + b"\x3a\x01x",
    ],
    ids=[
        "empty",
        "twice",
        "topic after signature",
        "no signature",
        "other key type",
        "topic not text",
        "unknown field",
    ],
)
def test_a_message_that_breaks_strict_sign_is_refused(broken: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode_message(broken)


def test_a_bad_message_leaves_the_rest_of_the_frame() -> None:
    rpc = codec.decode_rpc(b"\x12\x02\x0a\x00" + MESSAGE.part)
    assert (rpc.bad_messages, rpc.messages) == (1, [MESSAGE])


def test_the_id_depends_on_topic_and_data_only() -> None:
    other = environment(2)
    again = codec.encode_message(other.me, TOPIC, b"data", 99, other.sign)
    assert again.id == MESSAGE.id == codec.message_id(TOPIC, b"data")
    assert codec.message_id("x", b"data") != MESSAGE.id


@given(st.binary(max_size=300))
def test_garbage_raises_only_decode_error(data: bytes) -> None:
    try:
        codec.decode_rpc(data)
    except DecodeError:
        return


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_frame_raises_only_decode_error(changes: list[tuple[int, int]]) -> None:
    frame = bytearray(MESSAGE.part + codec.encode_ihave(TOPIC, [b"1"]) + codec.encode_prune(TOPIC, 9))
    for at, value in changes:
        frame[at % len(frame)] = value
    try:
        codec.decode_rpc(bytes(frame))
    except DecodeError:
        return
