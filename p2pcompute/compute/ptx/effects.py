"""What an opcode may do to memory, as data. What is not listed here is taken to touch memory in a way nobody knows."""

from __future__ import annotations

from typing import Final

ACCESSES: Final = frozenset({"ld", "st", "atom", "red"})

PURE: Final = frozenset(
    [
        "add",
        "sub",
        "addc",
        "subc",
        "mul",
        "mad",
        "madc",
        "fma",
        "div",
        "rem",
        "abs",
        "neg",
        "min",
        "max",
        "sad",
        "rcp",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "ex2",
        "lg2",
        "tanh",
        "copysign",
        "testp",
        "and",
        "or",
        "xor",
        "not",
        "cnot",
        "lop3",
        "shl",
        "shr",
        "shf",
        "popc",
        "clz",
        "brev",
        "bfind",
        "bfe",
        "bfi",
        "prmt",
        "dp4a",
        "dp2a",
        "vabsdiff2",
        "vabsdiff4",
        "setp",
        "set",
        "selp",
        "slct",
        "mov",
        "cvta",
        "cvt",
    ]
)
"""The result depends on the operands alone."""

EXCHANGES: Final = frozenset({"shfl", "vote", "match", "activemask"})
"""The result depends on what other lanes do."""

CONTROL: Final = frozenset(
    {"bra", "ret", "exit", "trap", "bar", "barrier", "membar", "fence", "nanosleep", "vprintf", "__assertfail"}
)
"""Order, endings, and the words of a kernel: nothing of them is memory of the task."""

OFF_DEVICE: Final = frozenset({"param", "shared", "local"})
"""State spaces that are no buffers and no module variables."""
