"""What must hold in every world, whatever was simulated."""

from simnet.invariants.base import Invariant, Violation
from simnet.invariants.registry import INVARIANTS, Watch

__all__ = ["INVARIANTS", "Invariant", "Violation", "Watch"]
