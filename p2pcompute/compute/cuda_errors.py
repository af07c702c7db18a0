"""What an error of the driver means for a job: the kernel's fault, the engine's limit, or a sick device.

PyCUDA gives an error's text, not its number: `routine failed: text[ - log]`, the text of cuGetErrorString.
"""

from __future__ import annotations

from typing import Final

KERNEL_FAULTS: Final = frozenset(
    {
        "an illegal memory access was encountered",  # 700
        "device-side assert triggered",  # 710
        "hardware stack error",  # 714
        "an illegal instruction was encountered",  # 715
        "misaligned address",  # 716
        "operation not supported on global/shared address space",  # 717
        "invalid program counter",  # 718
        "unspecified launch failure",  # 719
    }
)
"""Driver API, CUresult: what a kernel can do to its context, which is lost then (docs/spec/engines.md, 2.2)."""


def cause(error: Exception) -> str:
    """The driver's own text, without the routine and the log."""
    _, found, text = str(error).partition(" failed: ")
    return (text if found else str(error)).partition(" - ")[0].strip()


def is_kernel_fault(error: Exception) -> bool:
    return cause(error) in KERNEL_FAULTS
