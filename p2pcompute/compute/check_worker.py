"""The checker's process: it interprets a stranger's kernel, jailed as the engine's worker is.

Run as `python -m p2pcompute.compute.check_worker DESCRIPTOR PARENT_PID JAIL` by checker.py: one request, progress while
it runs, one answer.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec
import numpy as np

from p2pcompute.compute import ptx, sandbox, shared
from p2pcompute.compute.channel import ChannelClosedError, ChildChannel
from p2pcompute.compute.checker import REQUEST_BYTES_MAX, Answer, Checked, Failed, Found, Progressed, Request
from p2pcompute.compute.preflight import check_blocks, preflight
from p2pcompute.errors import P2PComputeError, SandboxError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import decode_manifest

_SPACE_BYTES: Final = 8 * limits.GIB
"""Address space: buffers, their copies, and the notes that are kept on every byte a kernel touches."""


def _checked(request: Request, descriptor: int, channel: ChildChannel) -> Answer:
    manifest = decode_manifest(request.manifest)
    everything = np.frombuffer(shared.attach(descriptor, manifest), np.uint8)
    place = shared.layout(manifest)
    text = everything[: place.ptx_size_bytes].tobytes().decode("ascii", errors="replace")
    if request.blocks:
        arrays = [everything[offset : offset + size] for offset, size in place.buffers]
        return Checked(
            check_blocks(
                manifest, text, arrays, launch=request.launch, blocks=request.blocks, steps_max=request.steps_max
            )
        )
    inputs = {
        buffer.name: everything[offset : offset + size].data
        for buffer, (offset, size) in zip(manifest.buffers, place.buffers, strict=True)
        if buffer.is_input
    }

    def progress(done: int, total: int) -> None:
        channel.send(msgspec.msgpack.encode(Progressed(done, total)))

    return Found(preflight(manifest, text, inputs, steps_max=request.steps_max, progress=progress))


def main(descriptor: int, parent_pid: int, jail: int) -> None:
    """Jail this process, then serve one request. `jail` 0: what the kernel lacks is left out."""
    sandbox.die_with_parent(parent_pid)
    channel = ChildChannel(descriptor, REQUEST_BYTES_MAX)
    answer: Answer
    try:
        ptx.canonicalise(ptx.parse(".version 8.4\n.target sm_75\n.address_size 64\n"))
        sandbox.apply(sandbox.worker_profile(memory_bytes=_SPACE_BYTES), required=bool(jail))
        frame, descriptors = channel.receive()
        answer = _checked(msgspec.msgpack.decode(frame, type=Request), descriptors[0], channel)
    except SandboxError as error:
        answer = Failed("sandbox", str(error))
    except P2PComputeError as error:
        answer = Failed(type(error).__name__, str(error))
    except MemoryError:
        answer = Failed("UsageError", "the check needs more memory than it may use: check a smaller case")
    except ChannelClosedError:
        return
    channel.send(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
