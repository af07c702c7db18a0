"""CUDA C++ to canonical PTX, by NVRTC in a jail.

    async with Compiler() as compiler:
        compiled = await compiler.compile({"saxpy.cu": text}, "saxpy.cu")

The same sources, macros and toolchain id give the same PTX on every machine; anyone may compile again and compare.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from types import MappingProxyType, TracebackType
from typing import Final, Self

import msgspec
import trio

from p2pcompute.compute import jail, source
from p2pcompute.compute.attempts import Attempts, Outcome
from p2pcompute.compute.channel import ChannelClosedError
from p2pcompute.compute.child import Child
from p2pcompute.errors import CompileError, PtxError

TIMEOUT_S: Final = 60.0
_GRACE_S: Final = 5.0
"""How long the jail may take beyond a compilation's own limit before it is taken for hung."""
ENTRIES_TRIED_MAX: Final = 256
_ENTRY: Final = re.compile(r"^[^\n]*\.entry\s+([\w$]+)", re.MULTILINE)
LINE_INFO: Final = "--generate-line-info"
_NO_DEFINES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterSignature:
    """One kernel parameter as PTX declares it: type (`u64`, `f32`, `b8` for structs), size and alignment in bytes."""

    type_name: str
    size_bytes: int
    align_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class EntrySignature:
    """One kernel. `name` is the entry in the PTX; `source_name` what the source calls it, where that can be told."""

    name: str
    source_name: str
    parameters: tuple[ParameterSignature, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class CompiledSource:
    """`ptx` is canonical; `log` holds the compiler's warnings; `outcome` says how the source was prepared and which
    kernels were left out."""

    ptx: str
    toolchain: str
    log: str
    entries: tuple[EntrySignature, ...]
    outcome: Outcome = dataclasses.field(default_factory=Outcome)
    lines: Mapping[int, tuple[str, int]] = dataclasses.field(default_factory=dict)
    """Where line information was asked for: PTX line -> the user's file and line."""


class Compiler:
    """A warm compiler. Compilations run one at a time; each in its own sandboxed process. Close it with `aclose`, or
    use it as an async context manager."""

    def __init__(self, *, jail: bool = True) -> None:
        """With `jail` off, it also works where the kernel lacks layers of the sandbox: for one's own sources only."""
        self._jail = jail
        self._child: Child | None = None
        self._turn = trio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the jail; a later `compile` starts a new one."""
        await self._drop()

    async def compile(
        self,
        sources: Mapping[str, str],
        main: str,
        *,
        defines: Mapping[str, str] = _NO_DEFINES,
        instances: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
        line_info: bool = False,
    ) -> CompiledSource:
        """Compile `sources[main]`; its `#include "name"` finds `sources[name]` or a header served from memory. A source
        that does not compile as it is, is prepared first (docs/spec/source.md): host code goes, kernels stay.
        `instances` names the templates to make kernels of, as in `scale<float>`; that is then their `source_name`.
        `line_info` asks where each line of the PTX comes from; the PTX is the same.

        Raises UsageError for names, sizes or macros out of bounds, and CompileError with the compiler's message: file
        names and lines are the user's own.
        """
        attempts = await trio.to_thread.run_sync(Attempts, sources, main, defines, instances)
        deadline = trio.current_time() + timeout_s
        while True:
            unit, left_s = attempts.unit, max(1.0, deadline - trio.current_time())
            options = (*unit.options, LINE_INFO) if line_info else unit.options
            request = jail.Request(unit.main, dict(unit.files), options, int(left_s * 1000), unit.expressions)
            async with self._turn:
                reply = await self._ask(msgspec.msgpack.encode(request), left_s)
            done = await trio.to_thread.run_sync(_judge, attempts, reply)
            if done is not None:
                return done

    async def _ask(self, frame: bytes, timeout_s: float) -> jail.Reply:
        """One request, one reply. On any fault, cancellation included, the jail is killed: its stream would be torn."""
        try:
            with trio.fail_after(timeout_s + _GRACE_S):
                if self._child is None:
                    self._child = Child(("-m", "p2pcompute.compute.jail"), jail.REPLY_BYTES_MAX, int(self._jail))
                    ready = _decode(await self._child.channel.receive())
                    if ready.died:
                        raise CompileError(f"{ready.died}: {ready.log}")
                await self._child.channel.send(frame)
                return _decode(await self._child.channel.receive())
        except ChannelClosedError:
            raise CompileError(f"the compile jail {await self._drop()}") from None
        except trio.TooSlowError:
            await self._drop()
            raise CompileError("the compile jail did not answer in time") from None
        except BaseException:
            await self._drop()
            raise

    async def _drop(self) -> str:
        child, self._child = self._child, None
        return await child.aclose() if child else ""


async def compile_cuda(
    sources: Mapping[str, str],
    main: str,
    *,
    defines: Mapping[str, str] = _NO_DEFINES,
    instances: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
    line_info: bool = False,
) -> CompiledSource:
    """`Compiler.compile` with a jail of its own, which costs about 0.3 s to start: for a single compilation."""
    async with Compiler() as compiler:
        return await compiler.compile(
            sources, main, defines=defines, instances=instances, timeout_s=timeout_s, line_info=line_info
        )


def source_name(entry: str) -> str:
    """What the source calls a kernel, from its mangled name (Itanium C++ ABI, 5.1): the plain or innermost name."""
    is_nested = entry.startswith("_ZN")
    rest = entry[3:] if is_nested else entry[2:] if entry.startswith("_Z") else ""
    name = entry
    while match := re.match(r"\d+", rest):
        length = int(match[0])
        name, rest = rest[match.end() :][:length], rest[match.end() + length :]
        if not is_nested:  # what follows are the types of its parameters
            break
    return name


def _decode(frame: bytes) -> jail.Reply:
    try:
        return msgspec.msgpack.decode(frame, type=jail.Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CompileError(f"the compile jail broke its protocol: {error}") from error


def _judge(attempts: Attempts, reply: jail.Reply) -> CompiledSource | None:
    """The result, or None when `attempts` has another unit to compile."""
    if reply.died:
        raise CompileError(f"{attempts.unit.main}: {reply.died}")
    if not reply.ptx:
        attempts.after_failure(reply.log or f"{attempts.unit.main}: the compiler gave neither code nor a reason")
        return None
    return _finish(attempts, reply)


def _finish(attempts: Attempts, reply: jail.Reply) -> CompiledSource | None:
    """The compiler's PTX is a stranger's text: only what our parser accepts goes on."""
    from p2pcompute.compute import ptx  # brings LLVM, which a client that compiles nothing need not load

    unit = attempts.unit
    try:
        parsed = ptx.parse(reply.ptx)
        canonical = ptx.canonicalise(parsed)
        module = ptx.parse(canonical)
    except PtxError as error:
        if attempts.after_refusal(_refused(reply.ptx)):
            return None
        raise CompileError(f"{unit.main}: compiles, but not to what the engines accept: {error}") from error
    if not module.entries:
        attempts.after_failure("")
        return None
    asked = dict(zip(reply.entries, unit.expressions))
    entries = tuple(
        EntrySignature(
            entry.name,
            asked.get(entry.name) or source_name(entry.name),
            tuple(ParameterSignature(p.type_name, p.size_bytes, p.align_bytes) for p in entry.parameters),
        )
        for entry in module.entries.values()
    )
    toolchain = source.toolchain_id(ptx.CANONICAL_VERSION)
    outcome = attempts.outcome()
    notes = [f"note: {missing} was not found and left out" for missing in outcome.missing]
    log = "\n".join((*filter(None, [reply.log]), *notes))
    lines = ptx.named(ptx.origins(reply.ptx, parsed, module), unit.files)
    return CompiledSource(canonical, toolchain, log, entries, outcome, lines)


def _refused(text: str) -> dict[str, str]:
    """Entries that our parser refuses, each tried alone with what stands outside of entries, and why."""
    from p2pcompute.compute import ptx

    spans = [
        (match.start(), text.find("\n}\n", match.end()) + 3, match[1])
        for match in islice(_ENTRY.finditer(text), ENTRIES_TRIED_MAX)
    ]
    if any(end <= start for start, end, _ in spans):
        return {}
    ends = [0, *(end for _, end, _ in spans)]
    outside = "".join(text[end:start] for end, start in zip(ends, (*(start for start, _, _ in spans), len(text))))
    refused = {}
    for start, end, name in spans:
        try:
            ptx.canonicalise(ptx.parse(outside + text[start:end]))
        except PtxError as error:
            refused[name] = f"{name} compiles, but not to what the engines accept: {error}"
    return refused
