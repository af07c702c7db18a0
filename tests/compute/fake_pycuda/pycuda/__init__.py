"""A fake of PyCUDA 2026.1's driver interface, for machines without a GPU. What runs on it is no GPU result.

Put the folder above this one on `sys.path`. Device memory is host memory at addresses that look like a device's, filled
with garbage; launches run canonical or plain PTX through our CPU engine, in order, on a thread that stands for the
device. Calls are checked as PyCUDA and the driver check them: types, contexts, lifetimes, ranges, and errors that stay.

Switches come from `device.json` in the folder that holds this package (see `_switches`); a test links the package into
a folder of its own (tests/compute/fake_cuda.py).
"""

VERSION = (2026, 1)
VERSION_STATUS = ""
VERSION_TEXT = "2026.1"
