"""CUDA kernels, one file each, with a manifest and a numpy reference. Imports numpy and nothing of ours.

spec = kernels_cu.load("saxpy")
work = spec.build(1)
... run spec.source's entry spec.entry on work ...
fault = spec.check(work, outputs)      # "" when the outputs are right
"""

from kernels_cu.library import KernelSpec, Parameter, Work, load, names

__all__ = ["KernelSpec", "Parameter", "Work", "load", "names"]
