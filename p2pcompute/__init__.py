"""p2pcompute: rent out and rent GPUs peer to peer; submit raw CUDA kernels and trust the answer.

    import numpy as np, p2pcompute as p2p
    kernel = p2p.Kernel.from_file("saxpy.cu", "saxpy")
    with p2p.Client(bootstrap=[address]) as client:
        job = client.submit(kernel, n=n, a=2.0, x=p2p.In(x), y=p2p.InOut(y), grid=(n + 255) // 256, block=256)
        y = job.result()["y"]

Names are loaded when they are first used: importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from p2pcompute.errors import (
    BudgetError,
    CompileError,
    KernelError,
    LocalError,
    NoPeersError,
    P2PComputeError,
    RemoteError,
    UsageError,
    VerificationError,
)

if TYPE_CHECKING:
    from p2pcompute.client.aio import AsyncClient, AsyncJob, Result, open_client
    from p2pcompute.client.arguments import In, InOut, Out, Temp
    from p2pcompute.client.calls import Call
    from p2pcompute.client.kernel import Kernel
    from p2pcompute.client.sync import Client, Job, as_completed
    from p2pcompute.client.textures import Texture1D, Texture2D, Texture3D
    from p2pcompute.protocol.matching import Needs
    from p2pcompute.wire.policy import Policy, adaptive, replicate, restricted, sample

__version__ = "0.1.0"

_HOME_OF = {
    "AsyncClient": "client.aio",
    "AsyncJob": "client.aio",
    "Result": "client.aio",
    "open_client": "client.aio",
    "In": "client.arguments",
    "InOut": "client.arguments",
    "Out": "client.arguments",
    "Temp": "client.arguments",
    "Call": "client.calls",
    "Kernel": "client.kernel",
    "Client": "client.sync",
    "Job": "client.sync",
    "Needs": "protocol.matching",
    "Policy": "wire.policy",
    "adaptive": "wire.policy",
    "replicate": "wire.policy",
    "restricted": "wire.policy",
    "sample": "wire.policy",
    "Texture1D": "client.textures",
    "Texture2D": "client.textures",
    "Texture3D": "client.textures",
    "as_completed": "client.sync",
}

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "BudgetError",
    "Call",
    "Client",
    "CompileError",
    "In",
    "InOut",
    "Job",
    "Kernel",
    "KernelError",
    "LocalError",
    "Needs",
    "NoPeersError",
    "Out",
    "P2PComputeError",
    "Policy",
    "RemoteError",
    "Result",
    "Temp",
    "Texture1D",
    "Texture2D",
    "Texture3D",
    "UsageError",
    "VerificationError",
    "adaptive",
    "as_completed",
    "open_client",
    "replicate",
    "restricted",
    "sample",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"p2pcompute.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'p2pcompute' has no attribute {name!r}")
