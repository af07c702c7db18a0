"""Protobuf's wire format, as far as libp2p's small messages need it: varints and length-delimited fields.

Source: protobuf "Encoding". Written by hand: a third of the cost of a generated codec, and every bound is the caller's.
"""

from __future__ import annotations

from p2pcompute.errors import DecodeError


def varint(number: int) -> bytes:
    """A number of any size that is not negative."""
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def write_field(number: int, data: bytes) -> bytes:
    """A length-delimited field; `number` is below 16."""
    return bytes((number << 3 | 2,)) + varint(len(data)) + data


def write_number(number: int, value: int) -> bytes:
    """A varint field; `number` is below 16."""
    return bytes((number << 3,)) + varint(value)


def read_fields(data: bytes, at: int, end: int, count_max: int) -> list[tuple[int, int, int]]:
    """(number, start, end) of each length-delimited field, and (number, value, -1) of each varint.

    Raises DecodeError."""
    out: list[tuple[int, int, int]] = []
    while at < end:
        if at + 2 < end and (tag := data[at]) < 128 and (value := data[at + 1]) < 128:  # as most are
            at += 2
        elif at + 2 < end and tag < 128 and (high := data[at + 2]) < 128:
            value = value & 127 | high << 7
            at += 3
        else:
            tag, at = _varint(data, at, end)
            value, at = _varint(data, at, end)
        kind = tag & 7
        if kind == 2:
            if at + value > end:
                raise DecodeError("A message ends inside a field.")
            out.append((tag >> 3, at, at + value))
            at += value
        elif kind == 0:
            out.append((tag >> 3, value, -1))
        else:
            raise DecodeError("A message holds a field of unknown kind.")
        if len(out) > count_max:
            raise DecodeError("A message holds too many fields.")
    return out


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    if at < end and (byte := data[at]) < 128:
        return byte, at + 1
    value = shift = 0
    while at < end and shift <= 63:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise DecodeError("A message holds a bad number.")
