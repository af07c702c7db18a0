"""PTX on the CPU: parse, canonicalise, classify, analyse, lower to LLVM, run."""
