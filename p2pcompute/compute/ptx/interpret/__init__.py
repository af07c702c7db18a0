"""A slow, obvious interpreter of PTX that watches every access: the checker behind `kernel check`, and the reference
that the engine is tested against.

It shares the parser and the address layout with the engine and nothing else: `numbers` (IEEE rounding on exact
ratios), `integers`, `floats`, `lanes` (what instructions compute), `shadow` and `memory` (who touched which byte),
`thread`, `program`, `warpwide`, `block` (who runs when), `findings`, `check`.
"""

from p2pcompute.compute.ptx.interpret.check import STEPS_MAX, CheckedLaunch, CheckResult, Progress, check
from p2pcompute.compute.ptx.interpret.findings import FINDINGS_MAX, Finding, Kind
from p2pcompute.compute.ptx.interpret.memory import BufferNote

__all__ = [
    "FINDINGS_MAX",
    "STEPS_MAX",
    "BufferNote",
    "CheckResult",
    "CheckedLaunch",
    "Finding",
    "Kind",
    "Progress",
    "check",
]
