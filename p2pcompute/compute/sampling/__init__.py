"""What must hold before single blocks of a launch may be recomputed instead of all, and who wrote which byte.

`digits` is the arithmetic of disjointness, `eligibility` the judgement of one launch (docs/spec/sampling.md, whose
rules are numbered alike), `slices` cuts out of a kernel what its addresses need, `writers` runs that.
"""

from p2pcompute.compute.sampling.eligibility import Eligibility, KernelLaunch, Reason, Tier, eligibility

__all__ = ["Eligibility", "KernelLaunch", "Reason", "Tier", "eligibility"]
