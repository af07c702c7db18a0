"""Hypothesis strategies for everything on the wire, read from the schemas themselves."""

from __future__ import annotations

import enum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from p2pcompute.identity.keys import KeyPair
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import DTYPES, Argument, Buffer, Comparison, Launch, Manifest, Role, Source

NETWORK = "test"
KEYS = [KeyPair(bytes([i]) * 32) for i in range(1, 5)]
EPOCH = b"epoch 01"
WALL_MS = 1_800_000_000_000


def of_type(kind: Any, meta: tuple[msgspec.Meta, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of a field's annotated type, within its limits."""
    bounds = {
        name: getattr(m, name)
        for m in meta
        for name in ("ge", "lt", "le", "min_length", "max_length")
        if getattr(m, name) is not None
    }
    if get_origin(kind) is Annotated:
        inner, *extra = get_args(kind)
        return of_type(inner, (*(m for m in extra if isinstance(m, msgspec.Meta)), *meta))
    if get_origin(kind) is tuple:
        row = st.lists(of_type(get_args(kind)[0]), min_size=bounds.get("min_length", 0), max_size=4)
        return row.map(tuple)
    if kind is bool:
        return st.booleans()
    if kind is bytes:
        most = min(bounds.get("max_length", 32), 64)
        return st.binary(min_size=bounds.get("min_length", min(32, most)), max_size=most)
    if kind is str:
        return st.text(max_size=min(bounds["max_length"], 16))
    if isinstance(kind, type) and issubclass(kind, enum.IntFlag):
        return st.integers(0, max(kind).value * 2 - 1).map(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return body(kind)
    assert kind is int, kind
    return st.integers(bounds.get("ge", 0), bounds.get("le", bounds.get("lt", 2**53) - 1))


def body(schema: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Bodies of one kind."""
    hints = get_type_hints(schema, include_extras=True)
    return st.builds(schema, **{name: of_type(hints[name]) for name in schema.__struct_fields__})


bodies = st.sampled_from(list(d.SCHEMAS.values())).flatmap(body)


def seal(contents: msgspec.Struct, key: KeyPair = KEYS[0], *, lifetime_ms: int = 60_000) -> d.AnyDocument:
    """A signed document."""
    return d.Author(NETWORK, key.public, EPOCH, key.sign).write(WALL_MS, contents, lifetime_ms=lifetime_ms)


_names = st.text("abcdefghij", min_size=1, max_size=6)
_root = st.binary(min_size=32, max_size=32)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Manifests that keep every rule."""
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    buffers = []
    for i, name in enumerate(names):
        role = Role.OUT if i == 0 else draw(st.sampled_from(list(Role)))
        exact = draw(st.booleans())
        buffers.append(
            Buffer(
                name,
                draw(st.sampled_from(list(DTYPES))),
                tuple(draw(st.lists(st.integers(0, 40), max_size=3))),
                role,
                draw(_root) if role in (Role.IN, Role.INOUT) else b"",
                Comparison.EXACT if exact else Comparison.TOLERANCE,
                0 if exact else draw(st.integers(0, 100)),
                0 if exact else draw(st.integers(0, 10**9)),
            )
        )
    value = st.binary(min_size=1, max_size=8).map(lambda v: Argument(value=v))
    argument = value | st.sampled_from(names).map(Argument)
    launch = st.builds(
        Launch,
        entry=_names,
        grid=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 65_535), st.integers(1, 65_535)),
        block=st.tuples(st.integers(1, 32), st.integers(1, 32), st.just(1)),
        arguments=st.lists(argument, max_size=5).map(tuple),
        shared_bytes=st.integers(0, 227 * 1024),
        repeats=st.integers(1, 1_000_000),
    )
    flags = [b.name for b in buffers if not b.is_pure_input and 0 < b.size_bytes <= 4096]
    if flags:
        launch = st.builds(
            lambda one, flag: msgspec.structs.replace(one, until=flag), launch, st.sampled_from(["", *flags])
        )
    return Manifest(
        name=draw(_names),
        toolchain=draw(_names),
        sources=tuple(draw(st.lists(st.builds(Source, _names, _root, st.integers(0, 4 * 2**20)), max_size=2))),
        ptx_root=draw(_root),
        ptx_size_bytes=draw(st.integers(1, 2**20)),
        buffers=tuple(buffers),
        launches=tuple(draw(st.lists(launch, min_size=1, max_size=3))),
        device_ms_max=draw(st.integers(1, 86_400_000)),
        memory_bytes_max=2**30,
    )
