"""What the parent and the worker of an engine say to each other."""

from __future__ import annotations

import enum
from typing import Final, TypeVar

import msgspec

from p2pcompute.compute.engine import Energy
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits

JOB_BYTES_MAX: Final = limits.MANIFEST_BYTES_MAX + limits.KIB
LOG_BYTES_MAX: Final = 16 * limits.KIB
"""Of what all launches of a job print."""
REPLY_BYTES_MAX: Final = LOG_BYTES_MAX + 4 * limits.KIB
ENERGY_MJ_MAX: Final = limits.DEVICE_MS_MAX * 2_000
"""A day at 2 kW."""
DEVICE_BYTES_MAX: Final = 1 << 48


class Job(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Parent to worker: run this manifest (canonical bytes) on the shared memory that came along. With `pauses` the
    worker says `Stepped` after each step (wire.steps) and waits for `Proceed` before it touches the memory again."""

    manifest: bytes
    pauses: bool = False


class Question(enum.IntEnum):
    """What a `Blocks` order asks of one launch. CLAIM is MAP without looking for blocks that meet; PAGES is LOG with
    what was loaded told in whole pages."""

    RUN = 0
    LOG = 1
    JUDGE = 2
    MAP = 3
    CLAIM = 4
    PAGES = 5


class Blocks(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Parent to worker: one launch of a manifest, on the state in the shared memory. A second piece of memory came
    along: `count` block numbers of 64 bits each, and behind them `room_bytes` for the answer.
    """

    manifest: bytes
    launch: int
    question: Question
    count: int
    room_bytes: int


class Proceed(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Parent to worker: the state after a step was read; go on."""


class Abort(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Parent to worker: the running job's time is up; stop it at the next chance and answer `Done`."""


class Ping(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Parent to worker: say `Beat` at once, whatever runs."""


class Device(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a CUDA worker sees of its device: compute capability times ten, memory, free memory with the worker's own
    context in place, the driver's CUDA version (12040 for 12.4), the PCI address. `reaches_host`: kernels can read and
    write the worker's own memory (PAGEABLE_MEMORY_ACCESS)."""

    name: str
    capability: int
    memory_bytes: int
    free_bytes: int
    multiprocessors: int
    driver: int
    pci: str
    reaches_host: bool


class Ready(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent, once: jailed and warm; or, with `fault`, what the jail lacks, or, with `is_device_fault`, what
    is wrong with the device (the worker then ends)."""

    fault: str = ""
    is_device_fault: bool = False
    device: Device | None = None


class Beat(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: the answer to a `Ping`."""


class Started(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: every kernel is compiled, launches begin; the job's device time counts from here."""


class Stepped(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: a step is over, and its state lies in the shared memory."""


class Done(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: how the job ended. `device_us`: spent inside launches; `log`: what kernels printed;
    `answer_bytes`: how much of the room a `Blocks` order gave is filled; `energy`: what the device used meanwhile, if
    it tells; `is_poisoned`: the worker can run nothing more and wants to be replaced."""

    status: JobStatus
    device_us: int
    reason: str
    log: str = ""
    answer_bytes: int = 0
    energy: Energy | None = None
    is_poisoned: bool = False


Order = Job | Blocks | Proceed | Abort | Ping
Answer = Ready | Started | Stepped | Done | Beat

WORKER_STATUSES: Final = frozenset({JobStatus.OK, JobStatus.TRAP, JobStatus.TIMEOUT, JobStatus.REFUSED})
"""What a worker may claim. CRASHED and CANCELLED are for the parent to say."""

_M = TypeVar("_M")
_order_decoder: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
_answer_decoder: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def sentence(text: str) -> str:
    """At most REASON_BYTES_MAX bytes of one printable line: it ends in logs, documents and terminals of others."""
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "?" for c in line)
    return shown.encode(errors="replace")[: limits.REASON_BYTES_MAX].decode(errors="ignore")


def printable(text: str) -> str:
    """At most LOG_BYTES_MAX bytes of lines: what a kernel prints must not steer the terminal that shows it."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    return shown.encode(errors="replace")[:LOG_BYTES_MAX].decode(errors="ignore")


def encode(message: Order | Answer) -> bytes:
    return msgspec.msgpack.encode(message)


def _decode(decoder: msgspec.msgpack.Decoder[_M], frame: bytes) -> _M:
    """msgspec lets a UnicodeDecodeError out where the tag of a message is no UTF-8."""
    try:
        return decoder.decode(frame)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not a message: {error}") from error


def decode_order(frame: bytes) -> Order:
    """Raises msgspec.MsgspecError."""
    return _decode(_order_decoder, frame)


def decode_answer(frame: bytes) -> Answer:
    """Raises msgspec.MsgspecError; what a worker may not claim counts as malformed."""
    answer = _decode(_answer_decoder, frame)
    fault = ""
    if isinstance(answer, Done):
        fault = _done_fault(answer)
    elif isinstance(answer, Ready) and answer.device is not None:
        fault = _device_fault(answer.device)
    if fault:
        raise msgspec.ValidationError(fault)
    return answer


def _done_fault(done: Done) -> str:
    if done.log != printable(done.log):
        return "a worker's log is too long or holds control characters"
    if done.status not in WORKER_STATUSES or done.device_us < 0:
        return f"a worker may not claim {done.status.name}, {done.device_us} us"
    if done.energy is not None and not 0 <= done.energy.millijoules <= ENERGY_MJ_MAX:
        return f"a worker may not claim {done.energy.millijoules} mJ"
    return ""


def _device_fault(device: Device) -> str:
    for text in (device.name, device.pci):
        if not text.isprintable() or len(text.encode(errors="replace")) > limits.LABEL_BYTES_MAX:
            return "a device's name or address is too long or holds control characters"
    if not 0 <= device.free_bytes <= device.memory_bytes <= DEVICE_BYTES_MAX:
        return f"a device cannot have {device.free_bytes} of {device.memory_bytes} bytes free"
    numbers = (device.capability, device.multiprocessors, device.driver)
    if any(not 0 <= number < 1 << 20 for number in numbers):
        return f"a device cannot be described by {numbers}"
    return ""
