from __future__ import annotations

import functools

import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.transport.address import Address
from p2pcompute.transport.mdns import TEXT_BYTES_MAX, decode_text, encode_text, find_neighbours

HERE = str(Address("192.168.1.5", 9_471, bytes(32)))


def test_addresses_go_through_txt_records() -> None:
    assert [str(address) for address in decode_text(encode_text([HERE, HERE]))] == [HERE, HERE]


def test_records_are_bounded() -> None:
    assert len(encode_text([HERE] * 100)) <= TEXT_BYTES_MAX


def test_only_private_addresses_that_name_a_peer_are_read() -> None:
    others = ["/ip4/8.8.8.8/tcp/1/p2p/" + HERE.rpartition("/")[2], "/ip4/192.168.1.5/tcp/9471", "nonsense"]
    assert list(decode_text(encode_text(others) + b"\x03a=b" + b"\xff")) == []


@given(st.binary(max_size=400))
def test_anything_can_be_read(text: bytes) -> None:
    list(decode_text(text))


async def test_two_peers_of_one_network_find_each_other() -> None:
    addresses = [str(Address("127.0.0.1", 9_000 + index, bytes([index]) * 32)) for index in (1, 2)]
    found: list[list[str]] = [[], []]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for index in (0, 1):
                nursery.start_soon(
                    functools.partial(
                        find_neighbours,
                        bytes([index + 1]) * 32,
                        [addresses[index]],
                        found[index].append,
                        interfaces=["127.0.0.1"],
                    )
                )
            while not all(found):
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    assert set(found[0]) == {addresses[1]}
    assert set(found[1]) == {addresses[0]}
