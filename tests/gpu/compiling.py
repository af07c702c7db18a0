"""CUDA C++ to PTX or to machine code, without a jail and without trio: for our own sources, in a test's process."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Sequence

from p2pcompute.compute import nvrtc, ptx, source


class _Nvrtc(nvrtc.Nvrtc):
    """NVRTC that can be asked for machine code too."""

    def machine_code(self, name: str, text: str, options: Sequence[str]) -> bytes:
        """Raises ValueError with the compiler's log."""
        headers, library = source.served_headers(), self._library
        program = ctypes.c_void_p()
        names, texts = nvrtc._strings(headers.keys()), nvrtc._strings(headers.values())
        library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), len(headers), texts, names)
        try:
            if library.nvrtcCompileProgram(program, len(options), nvrtc._strings(options)) != 0:
                raise ValueError(self._text(program, "ProgramLog"))
            size = ctypes.c_size_t()
            library.nvrtcGetCUBINSize(program, ctypes.byref(size))
            code = ctypes.create_string_buffer(size.value)
            if library.nvrtcGetCUBIN(program, code) != 0:
                raise ValueError(f"the compiler gives no machine code for {options[0]}")
            return code.raw
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))


@functools.cache
def _compiler() -> _Nvrtc:
    return _Nvrtc()


@contextlib.contextmanager
def _own_locale() -> Iterator[None]:
    """NVRTC leaves its thread in a locale of its own, in which Python reads files as ASCII."""
    uselocale = ctypes.CDLL(None).uselocale
    uselocale.argtypes, uselocale.restype = [ctypes.c_void_p], ctypes.c_void_p
    before = uselocale(None)
    try:
        yield
    finally:
        uselocale(before)


def plain_ptx(name: str, text: str, options: Sequence[str]) -> str:
    """NVRTC's own PTX. Raises ValueError with the compiler's log."""
    with _own_locale():
        done = _compiler().compile(name, text, source.served_headers(), options)
    if not done.ok:
        raise ValueError(done.log)
    return done.ptx


def machine_code(name: str, text: str, options: Sequence[str]) -> bytes:
    """For the `sm_` architecture that the options name. Raises ValueError with the compiler's log."""
    with _own_locale():
        return _compiler().machine_code(name, text, options)


@functools.cache
def canonical(name: str, text: str) -> str:
    """What `Compiler.compile` makes of a source that needs no preparation."""
    options = source.check({name: text}, name, {}).options
    return ptx.canonicalise(ptx.parse(plain_ptx(name, text, options)))
