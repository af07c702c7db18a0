"""Benchmarks: ratios measured side by side in one run, medians of at least five. `./dev bench NAME --json`.

Never a test: nothing here asserts a time. Each module under this package named in `registry.NAMES` has `GOALS` (key ->
(comparison, goal)) and `measure(quick) -> dict` with at least those keys.
"""
