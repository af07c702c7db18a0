"""NVIDIA's run-time compiler through ctypes. Loaded only inside the compile jail: it parses what strangers wrote."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

VERSION: Final = "12.4.127"
"""Pinned: other versions disagree on the last bit of some functions, and newer ones emit PTX that older drivers
refuse."""

OPTIONS: Final = (
    "--gpu-architecture=compute_75",
    "--fmad=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--ftz=false",
    "--no-source-include",
    "--std=c++17",
    "-default-device",
)
"""`--no-source-include` keeps the directory of the source, and thus the disk, out of the search path."""


@dataclasses.dataclass(frozen=True, slots=True)
class Compilation:
    """What the compiler said: PTX text when `ok`, its log in any case, and the entry that each asked-for expression
    became."""

    ok: bool
    ptx: str
    log: str
    entries: tuple[str, ...] = ()


def nvidia_directory(package: str) -> Path:
    """Where the wheel `nvidia.PACKAGE` is installed. Raises ImportError when it is not."""
    spec = importlib.util.find_spec(f"nvidia.{package}")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"nvidia.{package} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


class Nvrtc:
    """The loaded library. Its builtins are loaded first and globally, so that it finds them without a search path."""

    def __init__(self) -> None:
        directory = nvidia_directory("cuda_nvrtc") / "lib"
        self._builtins = ctypes.CDLL(str(directory / "libnvrtc-builtins.so.12.4"), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(directory / "libnvrtc.so.12"))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def compile(
        self,
        name: str,
        text: str,
        headers: Mapping[str, str],
        options: Sequence[str],
        expressions: Sequence[str] = (),
    ) -> Compilation:
        """Compile one translation unit; `headers` are found by the very text between the quotes of an #include.
        `expressions` such as `scale<float>` are instantiated."""
        program = ctypes.c_void_p()
        names, texts = _strings(headers.keys()), _strings(headers.values())
        made = self._library.nvrtcCreateProgram(
            ctypes.byref(program), text.encode(), name.encode(), len(headers), texts, names
        )
        if made != 0:
            return Compilation(False, "", self._error(made))
        try:
            for expression in expressions:
                if self._library.nvrtcAddNameExpression(program, expression.encode()) != 0:
                    return Compilation(False, "", f"{expression[:64]!r} is no name of a kernel")
            code = self._library.nvrtcCompileProgram(program, len(options), _strings(options))
            log = self._text(program, "ProgramLog").strip("\n")
            if code != 0:
                return Compilation(False, "", log or self._error(code))
            entries = tuple(self._lowered(program, expression) for expression in expressions)
            return Compilation(True, self._text(program, "PTX"), log, entries)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _lowered(self, program: ctypes.c_void_p, expression: str) -> str:
        name = ctypes.c_char_p()
        if self._library.nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(name)) != 0:
            return ""
        return (name.value or b"").decode()

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        if getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) != 0:
            return ""
        buffer = ctypes.create_string_buffer(size.value)
        if getattr(self._library, f"nvrtcGet{what}")(program, buffer) != 0:
            return ""
        return buffer.value.decode(errors="replace")

    def _error(self, code: int) -> str:
        return str(self._library.nvrtcGetErrorString(code).decode())


def _strings(values: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [value.encode() for value in values]
    return (ctypes.c_char_p * len(encoded))(*encoded)
