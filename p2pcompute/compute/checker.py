"""A check in a process of its own: the checker reads what strangers wrote, so it owns nothing worth having."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from p2pcompute.compute.channel import ChannelClosedError
from p2pcompute.compute.child import Child
from p2pcompute.compute.preflight import Preflight
from p2pcompute.compute.ptx.interpret import STEPS_MAX, Progress
from p2pcompute.compute.shared import SharedMemory
from p2pcompute.errors import KernelError, P2PComputeError, PtxError, SandboxError, UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest, encode_manifest, manifest_fault

REQUEST_BYTES_MAX: Final = limits.MANIFEST_BYTES_MAX + limits.KIB
ANSWER_BYTES_MAX: Final = 4 * limits.MIB
"""Twenty findings, and a reason for each instruction that speaks against a class."""


class Request(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Check this manifest (canonical bytes) on the shared memory that comes along."""

    manifest: bytes
    steps_max: int


class Progressed(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    done: int
    total: int


class Found(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    preflight: Preflight


class Failed(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`kind` is the name of the error."""

    kind: str
    message: str


Answer = Progressed | Found | Failed
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
    child = Child("p2pcompute.compute.check_worker", ANSWER_BYTES_MAX, int(jail))
    try:
        request = Request(encode_manifest(manifest), steps_max)
        await child.channel.send(msgspec.msgpack.encode(request), [memory.descriptor])
        while True:
            answer = _decoder.decode(await child.channel.receive())
            if isinstance(answer, Found):
                return answer.preflight
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
