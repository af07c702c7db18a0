"""What goes into a compilation: the user's files, the headers served from memory, the options; all checked here."""

from __future__ import annotations

import dataclasses
import functools
import posixpath
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Final

from blake3 import blake3

from p2pcompute.compute import prepare
from p2pcompute.compute.nvrtc import OPTIONS, VERSION, nvidia_directory
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits

MATH_HEADER: Final = "p2pmath.h"
HOST_HEADER: Final = "p2phost.h"
"""Included before prepared sources: what the host compiler lets every .cu file see without an #include."""
NAME_BYTES_MAX: Final = 256
_INCLUDE: Final = re.compile(r"""(^[ \t]*\#[ \t]*include[ \t]*["<])([^">\n]+)([">])""", re.MULTILINE)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")

_SERVED: Final[dict[str, str]] = {
    "p2pmath.h": "p2pmath.h",
    "p2pspecial.h": "p2pspecial.h",
    "p2phost.h": "p2phost.h",
    "math.h": "math.h cmath math_functions.h cuda/std/cmath",
    "stdint.h": "stdint.h cstdint inttypes.h cinttypes cuda/std/cstdint sys/types.h",
    "float.h": "float.h cfloat cuda/std/cfloat",
    "limits.h": "limits.h climits cuda/std/climits",
    "assert.h": "assert.h cassert cuda/std/cassert",
    "stdio.h": "stdio.h cstdio",
    "stddef.h": "stddef.h cstddef stdlib.h cstdlib string.h cstring cuda/std/cstddef memory.h",
    "algorithm.h": "algorithm utility functional tuple numeric cuda/std/utility cuda/std/functional cuda/std/algorithm",
    "type_traits.h": "type_traits cuda/std/type_traits",
    "numeric_limits.h": "limits cuda/std/limits",
    "array.h": "array cuda/std/array",
    "helper_math.h": "helper_math.h cutil_math.h",
    "helper_cuda.h": "helper_cuda.h helper_functions.h helper_string.h helper_timer.h helper_image.h exception.h "
    "helper_cuda_drvapi.h helper_gl.h cutil.h cutil_inline.h nvrtc_helper.h",
    "cufft.h": "cufft.h cufftXt.h",
    "cublas.h": "cublas.h cublas_v2.h cublasLt.h cublas_api.h cusparse.h cusparse_v2.h cusolverDn.h cudnn.h",
    "curand_kernel.h": "curand_kernel.h",
    "cub.h": "cub/cub.cuh cub/block/block_reduce.cuh cub/block/block_scan.cuh cub/block/block_load.cuh "
    "cub/block/block_store.cuh cub/block/block_exchange.cuh cub/block/block_adjacent_difference.cuh "
    "cub/warp/warp_reduce.cuh cub/warp/warp_scan.cuh cub/warp/warp_exchange.cuh "
    "cub/thread/thread_operators.cuh cub/thread/thread_reduce.cuh cub/util_type.cuh",
    "cuda.h": "cuda.h cudaTypedefs.h",
    "empty.h": "stdbool.h cuda_runtime.h cuda_runtime_api.h device_launch_parameters.h device_functions.h "
    "builtin_types.h vector_types.h vector_functions.h host_defines.h driver_types.h cuda_device_runtime_api.h "
    "cuda_profiler_api.h cudaProfiler.h texture_types.h cuda_texture_types.h texture_fetch_functions.h "
    "device_atomic_functions.h sm_20_atomic_functions.h sm_35_atomic_functions.h sm_60_atomic_functions.h "
    "channel_descriptor.h surface_types.h curand.h nvToolsExt.h nvtx3/nvToolsExt.h nvrtc.h "
    "iostream fstream sstream iomanip istream ostream ios iosfwd string string_view vector map set unordered_map "
    "unordered_set list deque queue stack bitset memory chrono ctime thread mutex atomic condition_variable future "
    "random iterator regex stdexcept exception new typeinfo typeindex system_error filesystem locale optional variant "
    "initializer_list valarray cctype cerrno csignal cstdarg clocale complex ratio any "
    "time.h sys/time.h sys/stat.h sys/resource.h sys/mman.h sys/ioctl.h sys/wait.h unistd.h ctype.h errno.h fcntl.h "
    "getopt.h pthread.h signal.h locale.h dirent.h libgen.h strings.h malloc.h stdarg.h semaphore.h sched.h poll.h "
    "omp.h mpi.h windows.h io.h direct.h conio.h",
}
"""Our file -> the names it is served under. A name that promises more than a kernel can use is served empty: the
compiler then points at the line that uses it."""

_NVIDIA: Final = (
    *("cuda_fp16.h", "cuda_fp16.hpp", "cuda_bf16.h", "cuda_bf16.hpp", "cuda_fp8.h", "cuda_fp8.hpp"),
    *("math_constants.h", "cuComplex.h", "cooperative_groups.h"),
    *("cuda_pipeline.h", "cuda_pipeline_helpers.h", "cuda_pipeline_primitives.h"),
    *("cuda_awbarrier.h", "cuda_awbarrier_helpers.h", "cuda_awbarrier_primitives.h"),
)
"""Headers of nvidia-cuda-runtime-cu12 that hold device code; cooperative_groups/ comes with them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A checked compilation: `main` is the file to compile, `files` all of the user's by the name their #include
    uses, `expressions` the template instances to make."""

    main: str
    files: Mapping[str, str]
    options: tuple[str, ...]
    expressions: tuple[str, ...]


@functools.cache
def served_headers() -> dict[str, str]:
    """Every header that needs no file of the user, by name."""
    directory = resources.files("p2pcompute.compute") / "headers"
    headers = {}
    for file, names in _SERVED.items():
        text = (directory / file).read_text(encoding="utf-8")
        headers.update(dict.fromkeys(names.split(), text))
    include = nvidia_directory("cuda_runtime") / "include"
    groups = (path.relative_to(include).as_posix() for path in (include / "cooperative_groups").rglob("*.h"))
    for name in (*_NVIDIA, *sorted(groups)):
        headers[name] = _with_full_includes((include / name).read_text(encoding="utf-8"), name, include)
    return headers


def _with_full_includes(text: str, name: str, include: Path) -> str:
    """NVIDIA's headers name their siblings without the directory; headers in memory are found by full name only.
    Its own uint64_t gives way to that of Linux, which stdint.h has."""
    folder = PurePosixPath(name).parent

    def full(match: re.Match[str]) -> str:
        sibling = posixpath.normpath(folder / match[2])
        return f"{match[1]}{sibling}{match[3]}" if (include / sibling).is_file() else match[0]

    return _INCLUDE.sub(full, text).replace("typedef unsigned long long uint64_t;", "typedef unsigned long uint64_t;")


@functools.cache
def toolchain_id(canonicaliser: str) -> str:
    """Short name of everything that decides what PTX comes out: compiler, options, headers, canonicaliser version.

    Two machines with the same id make the same PTX from the same source.
    """
    digest = blake3(b"p2pcompute toolchain 1\0")
    for part in (VERSION, *OPTIONS, canonicaliser, prepare.VERSION):
        digest.update(part.encode() + b"\0")
    for name, text in sorted(served_headers().items()):
        digest.update(name.encode() + b"\0" + blake3(text.encode()).digest())
    return f"nvrtc-{VERSION}-{digest.hexdigest(8)}"


def check(
    sources: Mapping[str, str],
    main: str,
    defines: Mapping[str, str],
    expressions: Sequence[str] = (),
    *,
    prelude: str = MATH_HEADER,
) -> Unit:
    """Raises UsageError when a name, a size or a macro is out of bounds."""
    _check_files(sources, main)
    if len(defines) > limits.DEFINES_MAX:
        raise UsageError(f"{len(defines)} macros; the limit is {limits.DEFINES_MAX}")
    options = [*OPTIONS, f"--pre-include={prelude}"]
    for name, value in defines.items():
        if not _IDENTIFIER.fullmatch(name):
            raise UsageError(f"{name[:64]!r} is no name for a macro")
        if not value.isprintable() or len(value.encode()) > limits.DEFINE_BYTES_MAX:
            raise UsageError(f"the value of macro {name} is not one line of at most {limits.DEFINE_BYTES_MAX} bytes")
        options.append(f"--define-macro={name}={value}")
    if len(expressions) > limits.INSTANCES_MAX:
        raise UsageError(f"{len(expressions)} template instances; the limit is {limits.INSTANCES_MAX}")
    for expression in expressions:
        if not expression.isprintable() or not 0 < len(expression.encode()) <= NAME_BYTES_MAX:
            raise UsageError(f"{expression[:64]!r} is no name of a kernel")
    return Unit(main, dict(sources), tuple(options), tuple(expressions))


def _check_files(sources: Mapping[str, str], main: str) -> None:
    if main not in sources:
        raise UsageError(f"the main source {main!r} is not among the sources")
    if len(sources) > limits.SOURCES_MAX:
        raise UsageError(f"{len(sources)} source files; the limit is {limits.SOURCES_MAX}")
    total = 0
    for name, text in sources.items():
        if not name.isprintable() or not 0 < len(name.encode()) <= NAME_BYTES_MAX:
            raise UsageError(f"{name[:64]!r} is no name for a source file")
        if "\0" in text:
            raise UsageError(f"{name} holds a NUL character, so it is no text")
        total += _size_bytes(name, text)
    if total > limits.SOURCE_BYTES_MAX:
        raise UsageError(f"the sources take {total} bytes together; the limit is {limits.SOURCE_BYTES_MAX}")


def _size_bytes(name: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"{name} holds half a surrogate pair, so it is no text") from error
