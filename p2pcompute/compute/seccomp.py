"""Seccomp filters, assembled in Python and installed for all threads of the process.

A filter is a classic BPF program over `struct seccomp_data` (linux/seccomp.h): number at byte 0, architecture at 4,
six 64-bit arguments from byte 16. What no rule allows fails with EPERM, so that a library which merely tries something
carries on; a foreign instruction set or the x32 calling convention kills the process, since numbers mean other calls
there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable
from typing import Final

from p2pcompute.compute.syscalls import MACHINES, Allow
from p2pcompute.errors import SandboxError

# linux/bpf_common.h, linux/seccomp.h, linux/prctl.h
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_KILL_PROCESS: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000
_ALLOW: Final = 0x7FFF_0000
_NUMBER_OFFSET_BYTES: Final = 0
_ARCH_OFFSET_BYTES: Final = 4
_ARGUMENTS_OFFSET_BYTES: Final = 16
_X32_BIT: Final = 0x4000_0000
_PR_GET_SECCOMP: Final = 21
_SECCOMP_CALL: Final = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER: Final = 1
_FLAG_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC
INSTRUCTIONS_MAX: Final = 4096
"""BPF_MAXINSNS of linux/bpf_common.h."""

_Instruction = tuple[int, int, int, int]


def assemble(rules: Iterable[Allow], machine_name: str) -> bytes:
    """The filter that allows `rules` and nothing else, as an array of `struct sock_filter`.

    Raises SandboxError for an instruction set without a table. Rules for calls that this machine lacks are dropped;
    `clone3` answers ENOSYS, because its flags lie in memory where a filter cannot look and libc then falls back to
    `clone`.
    """
    machine = MACHINES.get(machine_name)
    if machine is None:
        raise SandboxError(f"there is no table of system calls for {machine_name}, so nothing can be confined here")
    program: list[_Instruction] = [
        (_LOAD_WORD, 0, 0, _ARCH_OFFSET_BYTES),
        (_JUMP_EQUAL, 1, 0, machine.audit_arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET_BYTES),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_JUMP_EQUAL, 0, 1, machine.numbers["clone3"]),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for rule in rules:
        if rule.name in machine.numbers:
            program += _allow(rule, machine.numbers[rule.name])
    program.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    assert len(program) <= INSTRUCTIONS_MAX
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _allow(rule: Allow, number: int) -> list[_Instruction]:
    """Runs with the call's number in the accumulator, and leaves it there when the rule does not match."""
    if rule.argument is None:
        return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    return [
        (_JUMP_EQUAL, 0, 5, number),
        (_LOAD_WORD, 0, 0, _ARGUMENTS_OFFSET_BYTES + 8 * rule.argument),  # low half: both machines are little-endian
        (_AND, 0, 0, rule.mask),
        (_JUMP_EQUAL, 0, 1, rule.value),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET_BYTES),
    ]


def is_supported() -> bool:
    """Whether this kernel takes filters and this machine has a table."""
    libc = ctypes.CDLL(None, use_errno=True)
    return platform.machine() in MACHINES and libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def install(rules: Iterable[Allow]) -> None:
    """Confine every thread of this process for good; `no_new_privs` must be set. Raises SandboxError."""

    class SockFprog(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    code = assemble(rules, platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = SockFprog(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    call = _SECCOMP_CALL[platform.machine()]
    status = libc.syscall(call, _SET_MODE_FILTER, _FLAG_ALL_THREADS, ctypes.byref(program))
    if status > 0:
        raise SandboxError(f"thread {status} has a system call filter of its own")
    if status < 0:
        raise SandboxError(f"the kernel refuses the system call filter: {os.strerror(ctypes.get_errno())}")
