"""The kernel library: what there is, how it reads, whether it is right on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pcompute.cli import check, output
from p2pcompute.cli.check import CALL, Call
from p2pcompute.cli.given import GIVEN, Given
from p2pcompute.cli.options import JSON, Json
from p2pcompute.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from kernels_cu import KernelSpec

_COLUMNS: Final = tuple(output.Column(key, key) for key in ("kernel", "entry", "exact", "title"))
_CHECK_COLUMNS: Final = (
    output.Column("kernel", "kernel"),
    output.Column("device_us", "device ms", lambda us: f"{us / 1000:.1f}", right=True),
    output.Column("fault", "verdict", lambda fault: fault or "right"),
)


def _load(name: str) -> KernelSpec:
    import kernels_cu

    try:
        return kernels_cu.load(name)
    except KeyError as error:
        raise UsageError(str(error.args[0])) from None


def kernel_list(*, options: Json = JSON) -> None:
    """List the kernels of the library."""
    import kernels_cu

    specs = [kernels_cu.load(name) for name in kernels_cu.names()]
    rows = [{"kernel": s.name, "entry": s.entry, "exact": s.exact, "title": s.title} for s in specs]
    output.put_table(rows, _COLUMNS, as_json=options.json, none="the library is empty")


def kernel_show(name: str, /, *, options: Json = JSON) -> None:
    """Print a kernel's source.

    Args:
        name: As `p2pcompute kernel list` names it.
    """
    spec = _load(name)
    if not options.json:
        output.put(spec.source.rstrip("\n"))
        return
    parameters = [{"name": p.name, "role": p.role, "dtype": p.dtype} for p in spec.parameters]
    described = {"kernel": spec.name, "title": spec.title, "entry": spec.entry, "exact": spec.exact}
    output.put_json({**described, "parameters": parameters, "source": spec.source})


def kernel_check(*kernels: str, scale: int = 1, call: Call = CALL, given: Given = GIVEN, options: Json = JSON) -> int:
    """Check kernels of the library, or one of your own.

    A name from the library is compiled, run on this machine's CPU engine and compared with its numpy reference. A file
    with --entry, --grid, --block and arguments as for `p2pcompute run` goes through the checker instead: every access
    of every thread is looked at, for memory out of bounds, races, reads of what nobody wrote, and barriers that not
    all reach. The exit code is 0 when nothing is wrong.

    Args:
        kernels: Their names [default: all], or one .cu file.
        scale: For the library: size of the work.
    """
    import trio

    import kernels_cu

    if any(map(check.is_file, kernels)):
        if len(kernels) > 1:
            raise UsageError("one file at a time, please: each has arguments of its own")
        return check.check_file(Path(kernels[0]), call, given, as_json=options.json)
    if not 1 <= scale <= 1000:
        raise UsageError(f"--scale must be 1 to 1000, not {scale}")
    specs = [_load(name) for name in kernels or kernels_cu.names()]
    rows = trio.run(_check, specs, scale)
    output.put_table(rows, _CHECK_COLUMNS, as_json=options.json, none="the library is empty")
    wrong = [str(row["kernel"]) for row in rows if row["fault"]]
    if wrong:
        raise VerificationError(f"wrong on this machine: {', '.join(wrong)}")
    return 0


async def _check(specs: list[KernelSpec], scale: int) -> list[dict[str, object]]:
    from p2pcompute.cli.demo import arguments_of
    from p2pcompute.client.calls import Call
    from p2pcompute.client.kernel import Kernel
    from p2pcompute.client.local import run_here
    from p2pcompute.client.task import make_task
    from p2pcompute.node import factory
    from p2pcompute.wire import limits

    rows: list[dict[str, object]] = []
    engine = factory.cpu_engine(4 * limits.GIB)
    try:
        async with factory.compiler() as compiler:
            for spec in specs:
                work = spec.build(scale)
                kernel = Kernel(spec.source, spec.entry, spec.file_name)
                compiled = await compiler.compile({kernel.name: kernel.source}, kernel.name)
                task = make_task(
                    kernel,
                    compiled,
                    [Call(arguments_of(spec, work), work.grid, work.block, "", work.shared_bytes)],
                    device_ms_max=limits.DEVICE_MS_MAX,
                    name=spec.name,
                )
                outputs, device_us = await run_here(task, engine)
                rows.append({"kernel": spec.name, "device_us": device_us, "fault": spec.check(work, outputs)})
    finally:
        await engine.aclose()
    return rows
