"""CUDA kernels, one file each, with a manifest and a numpy reference. Imports numpy and nothing of ours."""
