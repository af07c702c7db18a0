"""For all tests: hypothesis judges what code does, never how long a busy machine takes for it. Ctrl-C is heard."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("p2pcompute", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("p2pcompute"), derandomize=True)
"""A change is judged by the same examples every time; new ones are looked for wherever the tests run by hand."""
settings.load_profile("ci" if os.environ.get("CI") else "p2pcompute")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job; the processes that tests start, and interrupt, would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
