"""One thing that the doctor looked at."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """`found` says what is; `fix`, empty when all is well, what to do. A `hint` is no fault."""

    what: str
    found: str
    fix: str = ""
    hint: bool = False

    @property
    def ok(self) -> bool:
        return not self.fix or self.hint
