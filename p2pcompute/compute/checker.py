"""A check in a process of its own: the checker reads what strangers wrote, so it owns nothing worth having."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from p2pcompute.compute.channel import ChannelClosedError
from p2pcompute.compute.child import Child
from p2pcompute.compute.preflight import Preflight
from p2pcompute.compute.ptx.interpret import STEPS_MAX, CheckResult, Progress
from p2pcompute.compute.shared import SharedMemory, State
from p2pcompute.errors import KernelError, P2PComputeError, PtxError, SandboxError, UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest, encode_manifest, manifest_fault

REQUEST_BYTES_MAX: Final = limits.MANIFEST_BYTES_MAX + limits.KIB
ANSWER_BYTES_MAX: Final = 4 * limits.MIB
"""Twenty findings, and a reason for each instruction that speaks against a class."""


class Request(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Check this manifest (canonical bytes) on the shared memory that comes along; with `blocks`, only these of
    `launch`, on the state that lies there."""

    manifest: bytes
    steps_max: int
    launch: int = 0
    blocks: tuple[int, ...] = ()


class Progressed(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    done: int
    total: int


class Found(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    preflight: Preflight


class Checked(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Of single blocks."""

    result: CheckResult


class Failed(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`kind` is the name of the error."""

    kind: str
    message: str


Answer = Progressed | Found | Checked | Failed
_decoder: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)
_ERRORS: Final[Mapping[str, type[P2PComputeError]]] = {
    "UsageError": UsageError,
    "PtxError": PtxError,
    "sandbox": SandboxError,
}


async def check_apart(
    manifest: Manifest,
    ptx_text: bytes,
    inputs: Mapping[str, bytes | memoryview],
    *,
    steps_max: int = STEPS_MAX,
    progress: Progress | None = None,
    jail: bool = True,
) -> Preflight:
    """`preflight` in a jailed process, which ends with the call. With `jail` off it also works where the kernel lacks
    layers of the sandbox: for one's own sources only.

    Raises UsageError and PtxError as `preflight` does, SandboxError where there is no jail, and KernelError when the
    process dies.
    """
    fault = manifest_fault(manifest)
    missing = [buffer.name for buffer in manifest.inputs if buffer.name not in inputs]
    if fault or missing or len(ptx_text) != manifest.ptx_size_bytes:
        raise UsageError(fault or f"input {missing[0]} is missing" if fault or missing else "the PTX has another size")
    memory = SharedMemory(manifest, ptx_text, inputs)
    answer = await _ask(Request(encode_manifest(manifest), steps_max), memory, progress, jail=jail)
    if not isinstance(answer, Found):
        raise KernelError("the checker broke its protocol: it checked something else")
    return answer.preflight


async def check_blocks_apart(
    manifest: Manifest,
    ptx_text: bytes,
    state: State,
    *,
    launch: int,
    blocks: Sequence[int],
    steps_max: int = STEPS_MAX,
    jail: bool = True,
) -> CheckResult:
    """`preflight.check_blocks` in a jailed process, on a state. Raises as `check_apart` does."""
    memory = SharedMemory(manifest, ptx_text, state, is_state=True)
    request = Request(encode_manifest(manifest), steps_max, launch, tuple(blocks))
    answer = await _ask(request, memory, None, jail=jail)
    if not isinstance(answer, Checked):
        raise KernelError("the checker broke its protocol: it checked something else")
    return answer.result


async def _ask(request: Request, memory: SharedMemory, progress: Progress | None, *, jail: bool) -> Found | Checked:
    """Takes over the memory."""
    child = Child(("-m", "p2pcompute.compute.check_worker"), ANSWER_BYTES_MAX, int(jail))
    try:
        await child.channel.send(msgspec.msgpack.encode(request), [memory.descriptor])
        while True:
            answer = _decoder.decode(await child.channel.receive())
            if isinstance(answer, Found | Checked):
                return answer
            if isinstance(answer, Failed):
                raise _ERRORS.get(answer.kind, KernelError)(answer.message)
            if progress is not None:
                progress(answer.done, answer.total)
    except ChannelClosedError:
        raise KernelError(f"the checker {await child.aclose()}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KernelError(f"the checker broke its protocol: {error}") from error
    finally:
        await child.aclose()
        memory.close()
