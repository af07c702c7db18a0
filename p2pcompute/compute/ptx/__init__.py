"""PTX on the CPU: parse, canonicalise, classify, analyse, lower to LLVM, run.

The passes, in order: `lex`, `parse` and `operands` (text to `ir`, checked against the table in `isa`), `inline`
(calls), `canonicalise`, `classify`, `flow` (blocks, loops, liveness), `uniform` with `patterns` (scalars, affine values
and constant differences), `invariants`, `ranges` (what is computed once, what no launch breaks), `nan`, `lower`
with `registers`, `access`, `patterned`, `checked`, `atomics`, `barriers`, `warpwide`, `arithmetic`, `bitwise`,
`conversion`, `moves`, `textures` (LLVM IR as text), `schedule` and `grid` (the loops over warps and blocks), `library`
(helpers, compiled once), `jit`, `memory`, `run`, `fenv`, `launch`.

For sampling: `blocklist` (which blocks run), `touch` and `accesslog` (what each touches), `effects` and `symbolic`
(addresses as formulas).
"""

from p2pcompute.compute.ptx.canonicalise import canonicalise
from p2pcompute.compute.ptx.classify import Classification, classify
from p2pcompute.compute.ptx.ir import Entry, Module, Parameter
from p2pcompute.compute.ptx.jit import Processor
from p2pcompute.compute.ptx.launch import CompiledKernel, compile_entry, pack_parameters
from p2pcompute.compute.ptx.lineinfo import named, origins
from p2pcompute.compute.ptx.memory import Memory
from p2pcompute.compute.ptx.outcome import LaunchResult, Status, Trap, TrapKind
from p2pcompute.compute.ptx.parse import parse
from p2pcompute.compute.ptx.run import Abort

CANONICAL_VERSION = "1"
"""Changes whenever `canonicalise` may give another text for the same PTX: part of the toolchain id."""

__all__ = [
    "CANONICAL_VERSION",
    "Abort",
    "Classification",
    "CompiledKernel",
    "Entry",
    "LaunchResult",
    "Memory",
    "Module",
    "Parameter",
    "Processor",
    "Status",
    "Trap",
    "TrapKind",
    "canonicalise",
    "classify",
    "compile_entry",
    "pack_parameters",
    "named",
    "origins",
    "parse",
]
