"""Real `.cu` files for the device compiler: kernels and what they mention stay, host code goes.

The passes, in order: `lex` (tokens), `directives` (macros, includes), `items` with `declaration` (what is declared
where), `program` (all files together), `select` (what kernels need), `launches` (template instances), `emit` (text).
`blame` reads a compiler's errors and says which declarations to try without. Rules: docs/spec/source.md.
"""

from p2pcompute.compute.prepare.prepared import KernelInSource, Preparation, Prepared, prepare

VERSION = "2"
"""Changes whenever `prepare` may give another text for the same sources: part of the toolchain id."""

__all__ = ["VERSION", "KernelInSource", "Preparation", "Prepared", "prepare"]
