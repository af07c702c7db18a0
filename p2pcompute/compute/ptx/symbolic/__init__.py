"""Addresses as formulas: which buffer, plus what over thread, block, parameters and loop turns, under which conditions.

`polynomial` and `ranges` are the arithmetic, `value` and `operations` say what one instruction does, `evaluate` carries
that along the control flow, `world` holds the numbers it is done for, `accesses` is the result.
"""

from p2pcompute.compute.ptx.symbolic.accesses import SymbolicAccess, addresses
from p2pcompute.compute.ptx.symbolic.evaluate import TooComplexError
from p2pcompute.compute.ptx.symbolic.polynomial import Poly
from p2pcompute.compute.ptx.symbolic.ranges import Facts
from p2pcompute.compute.ptx.symbolic.world import World, launch_world, open_world, static_world

__all__ = [
    "Facts",
    "Poly",
    "SymbolicAccess",
    "TooComplexError",
    "World",
    "addresses",
    "launch_world",
    "open_world",
    "static_world",
]
