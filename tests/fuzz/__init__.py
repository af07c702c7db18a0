"""The cores that read what strangers send, under bytes that no honest peer would send.

`target` says what a target is and lists them; `corpus` keeps their seeds; `guided` runs one under atheris, which sees
which branches an input takes; `test_random` gives the same targets to hypothesis, `test_guided` to atheris.
`python -m tests.fuzz --runs 1000000` runs them all and prints how many inputs each took.
"""
