"""Calls of pycuda.driver that are right or wrong, and what comes of each, as JSON: `python pycuda_calls.py FOLDER
[LIBRARY]`, with FOLDER first on sys.path and LIBRARY (a libcuda) loaded before.

Run on the fake and on the real PyCUDA over a stub of libcuda, it shows where the fake is more or less strict.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

PTX = b".version 8.4\n.target sm_75\n.address_size 64\n.visible .entry set()\n{\nret;\n}\n\0"


def told(call: Callable[[], Any]) -> str:
    """The type of a result, or class and text of an exception, without what differs between machines."""
    try:
        return type(call()).__name__
    except TypeError:  # Boost.Python has a subclass and words of its own
        return "TypeError"
    except (BufferError, OverflowError, ValueError) as error:
        return type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(' - ')[0]}"


def calls(driver: Any) -> dict[str, Callable[[], Any]]:
    """In order: later ones find what earlier ones left."""
    d = driver
    have: dict[str, Any] = {}

    def keep(name: str, value: Any) -> Any:
        have[name] = value
        return value

    words = np.zeros(64, np.uint32)
    return {
        "alloc before init": lambda: d.mem_alloc(4),
        "init": lambda: d.init(),
        "count": lambda: d.Device.count(),
        "device": lambda: keep("device", d.Device(0)),
        "no such device": lambda: d.Device(5),
        "device by numpy": lambda: d.Device(np.int32(0)),
        "alloc without context": lambda: d.mem_alloc(4),
        "context": lambda: keep("context", have["device"].make_context(d.ctx_flags.SCHED_BLOCKING_SYNC)),
        "alloc": lambda: keep("memory", d.mem_alloc(256)),
        "alloc numpy": lambda: d.mem_alloc(np.int64(4)),
        "alloc 0": lambda: d.mem_alloc(0),
        "alloc negative": lambda: d.mem_alloc(-1),
        "alloc too much": lambda: d.mem_alloc(1 << 40),
        "htod": lambda: d.memcpy_htod(have["memory"], words),
        "htod int": lambda: d.memcpy_htod(int(have["memory"]), words),
        "htod numpy address": lambda: d.memcpy_htod(np.uint64(int(have["memory"])), words),
        "htod too long": lambda: d.memcpy_htod(have["memory"], np.zeros(257, np.uint8)),
        "htod every second": lambda: d.memcpy_htod(have["memory"], words[::2]),
        "htod of a number": lambda: d.memcpy_htod(have["memory"], 5),
        "htod async": lambda: d.memcpy_htod_async(have["memory"], words, keep("stream", d.Stream())),
        "dtoh": lambda: d.memcpy_dtoh(words, have["memory"]),
        "dtoh to bytes": lambda: d.memcpy_dtoh(b"1234", have["memory"]),
        "dtoh async": lambda: d.memcpy_dtoh_async(words, have["memory"], have["stream"]),
        "dtod": lambda: d.memcpy_dtod(have["memory"], int(have["memory"]) + 128, 128),
        "memset": lambda: d.memset_d8(have["memory"], 0, 256),
        "memset beyond": lambda: d.memset_d8(have["memory"], 0, 257),
        "memset float": lambda: d.memset_d8(have["memory"], 0.0, 4),
        "memset 300": lambda: d.memset_d8(have["memory"], 300, 4),
        "memset words": lambda: d.memset_d32(have["memory"], 1, 64),
        "attribute": lambda: have["device"].get_attribute(d.device_attribute.WARP_SIZE),
        "attribute by number": lambda: have["device"].get_attribute(10),
        "attribute by name": lambda: have["device"].multiprocessor_count,
        "name": lambda: have["device"].name(),
        "address": lambda: have["device"].pci_bus_id(),
        "capability": lambda: have["device"].compute_capability(),
        "memory info": lambda: d.mem_get_info(),
        "total": lambda: have["device"].total_memory(),
        "pinned": lambda: d.pagelocked_empty(1024, np.uint8),
        "event by number": lambda: d.Event(3),
        "event": lambda: keep("event", d.Event()),
        "time of nothing": lambda: have["event"].time_till(d.Event()),
        "record": lambda: have["event"].record(have["stream"]),
        "synchronize event": lambda: have["event"].synchronize(),
        "query": lambda: have["event"].query(),
        "wait": lambda: have["stream"].wait_for_event(have["event"]),
        "time": lambda: d.Event().record().synchronize().time_since(have["event"]),
        "module of junk": lambda: d.module_from_buffer(b"junk\0"),
        "module": lambda: keep("module", d.module_from_buffer(PTX, message_handler=lambda ok, info, error: None)),
        "no such function": lambda: have["module"].get_function("nope"),
        "no such variable": lambda: have["module"].get_global("nope"),
        "function": lambda: keep("function", have["module"].get_function("set")),
        "launch": lambda: have["function"]._launch_kernel((1, 1, 1), (1, 1, 1), b"", 0, None),
        "launch in stream": lambda: have["function"]._launch_kernel((1,), (1,), b"", 0, have["stream"]),
        "launch without stream": lambda: have["function"]._launch_kernel((1,), (1,), b"", 0),
        "launch of a list": lambda: have["function"]._launch_kernel([1], (1,), b"", 0, None),
        "launch of a float": lambda: have["function"]._launch_kernel((1,), (1.0,), b"", 0, None),
        "launch of numpy": lambda: have["function"]._launch_kernel((np.int32(1),), (1,), b"", 0, None),
        "launch of less than none": lambda: have["function"]._launch_kernel((-1,), (1,), b"", 0, None),
        "launch of none": lambda: have["function"]._launch_kernel((0,), (1,), b"", 0, None),
        "launch of too many": lambda: have["function"]._launch_kernel((1,), (1025,), b"", 0, None),
        "launch with too much shared": lambda: have["function"]._launch_kernel((1,), (1,), b"", 60_000, None),
        "allow shared by number": lambda: have["function"].set_attribute(8, 60_000),
        "allow shared": lambda: have["function"].set_attribute(
            d.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, 60_000
        ),
        "launch with much shared": lambda: have["function"]._launch_kernel((1,), (1,), b"", 60_000, None),
        "limit": lambda: d.Context.set_limit(d.limit.PRINTF_FIFO_SIZE, 1 << 20),
        "synchronize": lambda: d.Context.synchronize(),
        "free": lambda: have["memory"].free(),
        "free again": lambda: have["memory"].free(),
        "use freed": lambda: d.memset_d8(have["memory"], 0, 4),
        "headers": lambda: d.get_version(),
        "driver": lambda: d.get_driver_version(),
        "pop": lambda: d.Context.pop(),
        "after pop": lambda: d.mem_get_info(),
        "error": lambda: (_ for _ in ()).throw(d.Error("an error")),
    }


def main(folder: str, library: str = "") -> None:
    sys.path.insert(0, folder)
    if library:
        ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    import pycuda.driver

    print(json.dumps({name: told(call) for name, call in calls(pycuda.driver).items()}), flush=True)
    os._exit(0)  # PyCUDA aborts a process that ends with a context


if __name__ == "__main__":
    main(*sys.argv[1:])
