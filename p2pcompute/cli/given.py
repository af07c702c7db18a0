"""What a kernel is given, as `run` and `kernel check` take it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from p2pcompute.cli import arguments

if TYPE_CHECKING:
    from p2pcompute.client.arguments import Array
    from p2pcompute.client.calls import Call
    from p2pcompute.client.kernel import Kernel


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Given:
    """Arguments, variables and repeats of a launch, and what its compiler needs besides the file."""

    inputs: Annotated[
        list[str] | None,
        Parameter(name="--in", help="Array to read, NAME=FILE.npy; may be given several times, like the next ones."),
    ] = None
    inout: Annotated[list[str] | None, Parameter(help="Array to read and write, NAME=FILE.npy.")] = None
    out: Annotated[list[str] | None, Parameter(help="Array to fill, NAME=DTYPE:SHAPE, like z=f32:1000,10.")] = None
    scalar: Annotated[
        list[str] | None,
        Parameter(help="Number, NAME=VALUE or NAME=VALUE:DTYPE, like n=1000:i32; NAME=null for a pointer to nothing."),
    ] = None
    texture: Annotated[
        list[str] | None,
        Parameter(
            help="Texture to read, NAME=FILE.npy:2d,WORDS; words: clamp border wrap mirror linear normalized as_float "
            "layered."
        ),
    ] = None
    struct: Annotated[
        list[str] | None,
        Parameter(help="Structure, NAME=FILE.npy with one element of a structured type of numpy."),
    ] = None
    constant: Annotated[
        list[str] | None,
        Parameter(help="Array that a __constant__ or __device__ variable holds from the start, NAME=FILE.npy."),
    ] = None
    shared: Annotated[int, Parameter(help="Bytes of dynamic shared memory.")] = 0
    repeats: Annotated[int, Parameter(help="Launch the kernel so many times in a row, on the same arrays.")] = 1
    until: Annotated[
        str,
        Parameter(help="Stop repeating when this output, which is zeroed before each launch, is still zero after one."),
    ] = ""
    define: Annotated[list[str] | None, Parameter(help="Macro for the compiler, A=B; may be given several times.")] = (
        None
    )
    include: Annotated[
        list[str] | None, Parameter(help="Folder with headers of one's own; may be given several times.")
    ] = None

    def kernel(self, file: Path, entry: str) -> Kernel:
        """Raises UsageError."""
        from p2pcompute.client.kernel import Kernel

        defines, include = arguments.defines(self.define or ()), arguments.folders(self.include or ())
        return Kernel.from_file(file, entry, defines=defines, include=include)

    def call(self, grid: str, block: str, tolerances: Iterable[str] = ()) -> Call:
        """Raises UsageError."""
        from p2pcompute.client.calls import Call

        values = arguments.named_arguments(
            self.inputs or (),
            self.inout or (),
            self.out or (),
            self.scalar or (),
            self.texture or (),
            self.struct or (),
        )
        values = arguments.with_tolerances(values, tolerances)
        return Call(
            values,
            arguments.parse_dims(grid, "--grid"),
            arguments.parse_dims(block, "--block"),
            shared_bytes=self.shared,
            repeats=self.repeats,
            until=arguments.flag(values, self.until),
        )

    def constants(self) -> dict[str, Array]:
        """What variables hold, by name. Raises UsageError."""
        return arguments.constants(self.constant or ())


GIVEN: Final = Given()
