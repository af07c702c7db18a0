"""CUDA error codes, the texts of cuGetErrorString, and the PyCUDA exception that each becomes."""

from __future__ import annotations

import time

from pycuda._switches import SWITCHES


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):
    pass


for _class in (Error, MemoryError, LogicError, LaunchError, RuntimeError):
    _class.__module__ = "pycuda._driver"

INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
NO_DEVICE = 100
INVALID_DEVICE = 101
INVALID_CONTEXT = 201
INVALID_PTX = 218
INVALID_HANDLE = 400
NOT_FOUND = 500
NOT_READY = 600
ILLEGAL_ADDRESS = 700
LAUNCH_OUT_OF_RESOURCES = 701
ASSERT = 710
ILLEGAL_INSTRUCTION = 715
MISALIGNED_ADDRESS = 716
LAUNCH_FAILED = 719
NOT_SUPPORTED = 801

_TEXTS = {
    INVALID_VALUE: "invalid argument",
    OUT_OF_MEMORY: "out of memory",
    NOT_INITIALIZED: "initialization error",
    46: "CUDA-capable device(s) is/are busy or unavailable",
    NO_DEVICE: "no CUDA-capable device is detected",
    INVALID_DEVICE: "invalid device ordinal",
    INVALID_CONTEXT: "invalid device context",
    209: "no kernel image is available for execution on the device",
    214: "uncorrectable ECC error encountered",
    INVALID_PTX: "a PTX JIT compilation failed",
    222: "the provided PTX was compiled with an unsupported toolchain.",
    INVALID_HANDLE: "invalid resource handle",
    NOT_FOUND: "named symbol not found",
    NOT_READY: "device not ready",
    ILLEGAL_ADDRESS: "an illegal memory access was encountered",
    LAUNCH_OUT_OF_RESOURCES: "too many resources requested for launch",
    702: "the launch timed out and was terminated",
    ASSERT: "device-side assert triggered",
    ILLEGAL_INSTRUCTION: "an illegal instruction was encountered",
    MISALIGNED_ADDRESS: "misaligned address",
    LAUNCH_FAILED: "unspecified launch failure",
    NOT_SUPPORTED: "operation not supported",
    803: "system has unsupported display driver / cuda driver combination",
    999: "unknown error",
}
_CLASSES = {
    OUT_OF_MEMORY: MemoryError,
    NO_DEVICE: RuntimeError,
    209: RuntimeError,
    301: RuntimeError,
    NOT_READY: RuntimeError,
    LAUNCH_OUT_OF_RESOURCES: LaunchError,
    702: LaunchError,
    703: LaunchError,
    LAUNCH_FAILED: LaunchError,
    999: Error,
}


def message(routine: str, code: int, detail: str = "") -> str:
    text = f"{routine} failed: {_TEXTS.get(code, 'unrecognized error code')}"
    return f"{text} - {detail}" if detail else text


def error(routine: str, code: int, detail: str = "") -> Error:
    return _CLASSES.get(code, LogicError)(message(routine, code, detail))


def enter(routine: str) -> None:
    """What the switches do to a driver routine."""
    if routine in SWITCHES.hangs:
        while True:
            time.sleep(3600)
    if routine in SWITCHES.faults:
        raise error(routine, SWITCHES.faults[routine])
