"""p2pcompute: rent out and rent GPUs peer to peer; submit raw CUDA kernels and trust the answer."""

__version__ = "0.1.0"
