"""The enumerations of the driver interface: names as PyCUDA has them, numbers as cuda.h has them."""

from __future__ import annotations

import enum

device_attribute = enum.IntEnum(
    "device_attribute",
    {
        "MAX_THREADS_PER_BLOCK": 1,
        "MAX_BLOCK_DIM_X": 2,
        "MAX_BLOCK_DIM_Y": 3,
        "MAX_BLOCK_DIM_Z": 4,
        "MAX_GRID_DIM_X": 5,
        "MAX_GRID_DIM_Y": 6,
        "MAX_GRID_DIM_Z": 7,
        "MAX_SHARED_MEMORY_PER_BLOCK": 8,
        "SHARED_MEMORY_PER_BLOCK": 8,
        "TOTAL_CONSTANT_MEMORY": 9,
        "WARP_SIZE": 10,
        "MAX_PITCH": 11,
        "MAX_REGISTERS_PER_BLOCK": 12,
        "REGISTERS_PER_BLOCK": 12,
        "CLOCK_RATE": 13,
        "TEXTURE_ALIGNMENT": 14,
        "GPU_OVERLAP": 15,
        "MULTIPROCESSOR_COUNT": 16,
        "KERNEL_EXEC_TIMEOUT": 17,
        "INTEGRATED": 18,
        "CAN_MAP_HOST_MEMORY": 19,
        "COMPUTE_MODE": 20,
        "SURFACE_ALIGNMENT": 30,
        "CONCURRENT_KERNELS": 31,
        "ECC_ENABLED": 32,
        "PCI_BUS_ID": 33,
        "PCI_DEVICE_ID": 34,
        "TCC_DRIVER": 35,
        "MEMORY_CLOCK_RATE": 36,
        "GLOBAL_MEMORY_BUS_WIDTH": 37,
        "L2_CACHE_SIZE": 38,
        "MAX_THREADS_PER_MULTIPROCESSOR": 39,
        "ASYNC_ENGINE_COUNT": 40,
        "UNIFIED_ADDRESSING": 41,
        "PCI_DOMAIN_ID": 50,
        "TEXTURE_PITCH_ALIGNMENT": 51,
        "COMPUTE_CAPABILITY_MAJOR": 75,
        "COMPUTE_CAPABILITY_MINOR": 76,
        "STREAM_PRIORITIES_SUPPORTED": 78,
        "GLOBAL_L1_CACHE_SUPPORTED": 79,
        "LOCAL_L1_CACHE_SUPPORTED": 80,
        "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": 81,
        "MAX_REGISTERS_PER_MULTIPROCESSOR": 82,
        "MANAGED_MEMORY": 83,
        "MULTI_GPU_BOARD": 84,
        "MULTI_GPU_BOARD_GROUP_ID": 85,
        "HOST_NATIVE_ATOMIC_SUPPORTED": 86,
        "SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO": 87,
        "PAGEABLE_MEMORY_ACCESS": 88,
        "CONCURRENT_MANAGED_ACCESS": 89,
        "COMPUTE_PREEMPTION_SUPPORTED": 90,
        "CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM": 91,
        "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 97,
        "PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES": 100,
        "DIRECT_MANAGED_MEM_ACCESS_FROM_HOST": 101,
        "MAX_BLOCKS_PER_MULTIPROCESSOR": 106,
        "GENERIC_COMPRESSION_SUPPORTED": 107,
        "MAX_PERSISTING_L2_CACHE_SIZE": 108,
        "RESERVED_SHARED_MEMORY_PER_BLOCK": 111,
        "READ_ONLY_HOST_REGISTER_SUPPORTED": 113,
        "MEMORY_POOLS_SUPPORTED": 115,
    },
)
ATTRIBUTES = {
    "MAX_THREADS_PER_BLOCK": 1024,
    "MAX_BLOCK_DIM_X": 1024,
    "MAX_BLOCK_DIM_Y": 1024,
    "MAX_BLOCK_DIM_Z": 64,
    "MAX_GRID_DIM_X": 2**31 - 1,
    "MAX_GRID_DIM_Y": 65535,
    "MAX_GRID_DIM_Z": 65535,
    "MAX_SHARED_MEMORY_PER_BLOCK": 49152,
    "TOTAL_CONSTANT_MEMORY": 65536,
    "WARP_SIZE": 32,
    "MAX_REGISTERS_PER_BLOCK": 65536,
    "CLOCK_RATE": 1980000,
    "TEXTURE_ALIGNMENT": 512,
    "GPU_OVERLAP": 1,
    "MULTIPROCESSOR_COUNT": 2,
    "CAN_MAP_HOST_MEMORY": 1,
    "SURFACE_ALIGNMENT": 512,
    "CONCURRENT_KERNELS": 1,
    "MEMORY_CLOCK_RATE": 2619000,
    "GLOBAL_MEMORY_BUS_WIDTH": 5120,
    "L2_CACHE_SIZE": 52428800,
    "MAX_THREADS_PER_MULTIPROCESSOR": 2048,
    "ASYNC_ENGINE_COUNT": 3,
    "UNIFIED_ADDRESSING": 1,
    "TEXTURE_PITCH_ALIGNMENT": 32,
    "STREAM_PRIORITIES_SUPPORTED": 1,
    "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": 233472,
    "MAX_REGISTERS_PER_MULTIPROCESSOR": 65536,
    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232448,
    "MAX_BLOCKS_PER_MULTIPROCESSOR": 32,
    "RESERVED_SHARED_MEMORY_PER_BLOCK": 1024,
}
"""Of an H100 where they matter, with two multiprocessors; the others are 0."""

function_attribute = enum.IntEnum(
    "function_attribute",
    {
        "MAX_THREADS_PER_BLOCK": 0,
        "SHARED_SIZE_BYTES": 1,
        "CONST_SIZE_BYTES": 2,
        "LOCAL_SIZE_BYTES": 3,
        "NUM_REGS": 4,
        "PTX_VERSION": 5,
        "BINARY_VERSION": 6,
        "CACHE_MODE_CA": 7,
        "MAX_DYNAMIC_SHARED_SIZE_BYTES": 8,
        "PREFERRED_SHARED_MEMORY_CARVEOUT": 9,
    },
)
ctx_flags = enum.IntEnum(
    "ctx_flags",
    {
        "SCHED_AUTO": 0,
        "SCHED_SPIN": 1,
        "SCHED_YIELD": 2,
        "BLOCKING_SYNC": 4,
        "SCHED_BLOCKING_SYNC": 4,
        "SCHED_MASK": 7,
        "MAP_HOST": 8,
        "LMEM_RESIZE_TO_MAX": 16,
    },
)
event_flags = enum.IntEnum("event_flags", {"DEFAULT": 0, "BLOCKING_SYNC": 1, "DISABLE_TIMING": 2, "INTERPROCESS": 4})
limit = enum.IntEnum(
    "limit",
    {
        "STACK_SIZE": 0,
        "PRINTF_FIFO_SIZE": 1,
        "MALLOC_HEAP_SIZE": 2,
        "DEV_RUNTIME_SYNC_DEPTH": 3,
        "DEV_RUNTIME_PENDING_LAUNCH_COUNT": 4,
    },
)
jit_option = enum.IntEnum(
    "jit_option",
    {
        "MAX_REGISTERS": 0,
        "THREADS_PER_BLOCK": 1,
        "WALL_TIME": 2,
        "INFO_LOG_BUFFER": 3,
        "INFO_LOG_BUFFER_SIZE_BYTES": 4,
        "ERROR_LOG_BUFFER": 5,
        "ERROR_LOG_BUFFER_SIZE_BYTES": 6,
        "OPTIMIZATION_LEVEL": 7,
        "TARGET_FROM_CUCONTEXT": 8,
        "TARGET": 9,
        "FALLBACK_STRATEGY": 10,
    },
)
compute_mode = enum.IntEnum("compute_mode", {"DEFAULT": 0, "PROHIBITED": 2, "EXCLUSIVE_PROCESS": 3})
func_cache = enum.IntEnum("func_cache", {"PREFER_NONE": 0, "PREFER_SHARED": 1, "PREFER_L1": 2, "PREFER_EQUAL": 3})


class host_alloc_flags:
    PORTABLE, DEVICEMAP, WRITECOMBINED = 1, 2, 4


class mem_host_register_flags:
    PORTABLE, DEVICEMAP = 1, 2
