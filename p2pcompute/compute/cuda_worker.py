"""The CUDA engine's worker: one jailed process with one context on one device, which runs a stranger's kernels.

Run as `python -m p2pcompute.compute.cuda_worker DESCRIPTOR PARENT_PID MEMORY_BYTES JAIL` by cuda.py, with
CUDA_VISIBLE_DEVICES naming the device. Only the main thread touches CUDA. The order in which the jail closes, and what
it leaves open: docs/spec/engines.md.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from p2pcompute.compute import cuda_files, energy, jobs, sandbox
from p2pcompute.compute.channel import ChildChannel
from p2pcompute.compute.cuda_device import Gpu, load_driver
from p2pcompute.compute.cuda_job import Abort, Runner
from p2pcompute.compute.cuda_output import Printed
from p2pcompute.compute.serving import Serving
from p2pcompute.errors import DeviceError, SandboxError
from p2pcompute.wire import limits

_DATA_BYTES: Final = 8 * limits.GIB
"""Heap and private mappings beyond those of a warm worker: the driver compiles a stranger's PTX in this process."""


def main(descriptor: int, parent_pid: int, memory_bytes: int, jail: int) -> None:
    """Jail this process around a context, then serve. `jail` 0: what the kernel lacks is left out."""
    sandbox.die_with_parent(parent_pid)
    channel = ChildChannel(descriptor, jobs.JOB_BYTES_MAX)
    try:
        driver, nvml, printed = load_driver(), energy.load_nvml(), Printed()
        sandbox.confine_files(cuda_files.grants(), required=bool(jail))
        gpu = Gpu(driver)
        device = gpu.warm()
        meter = energy.Meter(nvml, device.pci, is_part=os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG"))
        profile = sandbox.cuda_profile(data_bytes=_data_bytes() + _DATA_BYTES)
        sandbox.confine_calls(profile, required=bool(jail))
    except (DeviceError, SandboxError) as error:
        fault = jobs.Ready(jobs.sentence(str(error)), is_device_fault=isinstance(error, DeviceError))
        channel.send(jobs.encode(fault))
        os._exit(1)  # PyCUDA aborts a process that ends with a context
    channel.send(jobs.encode(jobs.Ready(device=device)))
    serving = Serving(channel, Abort)
    serving.serve(Runner(gpu, serving, printed, meter, memory_bytes).work)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process by now."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        sizes = [line.split()[1] for line in status if line.startswith("VmData:")]
    return int(sizes[0]) * limits.KIB


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]))
