"""What the parent and the worker of an engine say to each other."""

from __future__ import annotations

import enum
from typing import Final, TypeVar

import msgspec

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits

JOB_BYTES_MAX: Final = limits.MANIFEST_BYTES_MAX + limits.KIB
LOG_BYTES_MAX: Final = 16 * limits.KIB
"""Of what all launches of a job print."""
REPLY_BYTES_MAX: Final = LOG_BYTES_MAX + 4 * limits.KIB


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


class Ready(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent, once: jailed and warm; or, with `fault`, what the jail lacks (the worker then ends)."""

    fault: str = ""


class Started(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: every kernel is compiled, launches begin; the job's device time counts from here."""


class Stepped(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: a step is over, and its state lies in the shared memory."""


class Done(msgspec.Struct, tag=True, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Worker to parent: how the job ended. `device_us`: spent inside launches; `log`: what kernels printed;
    `answer_bytes`: how much of the room a `Blocks` order gave is filled."""

    status: JobStatus
    device_us: int
    reason: str
    log: str = ""
    answer_bytes: int = 0


Order = Job | Blocks | Proceed | Abort
Answer = Ready | Started | Stepped | Done

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
    """Raises msgspec.MsgspecError; a status that a worker may not claim counts as malformed."""
    answer = _decode(_answer_decoder, frame)
    if isinstance(answer, Done) and answer.log != printable(answer.log):
        raise msgspec.ValidationError("a worker's log is too long or holds control characters")
    if isinstance(answer, Done) and (answer.status not in WORKER_STATUSES or answer.device_us < 0):
        raise msgspec.ValidationError(f"a worker may not claim {answer.status.name}, {answer.device_us} us")
    return answer
