"""Calls into the CUDA runtime that device code makes: vprintf (what printf becomes) and __assertfail.

PTX passes their arguments through parameter variables. Here the stores, the call and the load of the result become one
instruction, which `canonicalise` writes out again; any other order of them is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from p2pcompute.compute.ptx.ir import Address, Instruction, Label, Module, Operand, Sink, Statement, Symbol
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError


@dataclass(frozen=True, slots=True)
class Signature:
    returns: tuple[str, ...]
    takes: tuple[str, ...]


SIGNATURES: Final = {
    "vprintf": Signature(("b32",), ("b64", "b64")),
    "__assertfail": Signature((), ("b64", "b64", "b32", "b64", "b64")),
}
"""vprintf(format, arguments): the arguments lie in local memory, each aligned to its size. __assertfail(message, file,
line, function, size of a character). Source: CUDA C++ Programming Guide and the CUDA headers.
"""


def join_calls(module: Module) -> None:
    """One instruction per call of a runtime function that the module does not define itself."""
    for function in (*module.functions.values(), *module.entries.values()):
        if any(_is_system_call(statement, module) for statement in function.body):
            function.body = _joined(function.body, module)


def _is_system_call(statement: Statement, module: Module) -> bool:
    if isinstance(statement, Label) or statement.opcode != "call":
        return False
    target = statement.sources[0]
    return isinstance(target, Label) and target.name in SIGNATURES and target.name not in module.functions


def _joined(body: list[Statement], module: Module) -> list[Statement]:
    done: list[Statement] = []
    rest = iter(body)
    for statement in rest:
        if isinstance(statement, Label) or not _is_system_call(statement, module):
            done.append(statement)
            continue
        target = statement.sources[0]
        assert isinstance(target, Label)
        signature = SIGNATURES[target.name]
        count = len(signature.takes)
        values = tuple(
            _transferred(stored, symbol, kind, statement)
            for stored, symbol, kind in zip(
                done[len(done) - count :], statement.sources[1:], signature.takes, strict=False
            )
        )
        fits = len(values) == count == len(statement.sources) - 1
        if not fits or len(statement.destinations) != len(signature.returns):
            raise _odd(statement)
        del done[len(done) - count :]
        results = tuple(
            _transferred(next(rest, None), symbol, kind, statement)
            for symbol, kind in zip(statement.destinations, signature.returns, strict=True)
        )
        done.append(
            replace(
                statement,
                opcode=target.name,
                destinations=results,
                destination_types=signature.returns,
                sources=values,
                source_types=signature.takes,
            )
        )
    return done


def _transferred(statement: Statement | None, symbol: Operand, kind: str, call: Instruction) -> Operand:
    """What `st.param` puts into an argument, or where `ld.param` puts the result."""
    if isinstance(statement, Instruction) and isinstance(symbol, Symbol) and statement.guard is None:
        is_store = statement.opcode == "st"
        address, value = (statement.destinations, statement.sources) if is_store else ((), ())
        if statement.opcode == "ld":
            address, value = statement.sources, statement.destinations
        fits = statement.modifier("space") == "param" and statement.modifier("vec") is None
        if fits and address == (Address(symbol),) and TYPES[statement.types[0]].bits == TYPES[kind].bits:
            return value[0]
    raise _odd(call)


def _odd(call: Instruction) -> PtxError:
    target = call.sources[0]
    assert isinstance(target, Label)
    return PtxError(f"PTX line {call.line}: the arguments of '{target.name}' are not passed as NVRTC passes them.")


def is_system(ins: Instruction) -> bool:
    return ins.opcode in SIGNATURES


def declarations(instructions: Iterable[Instruction]) -> list[str]:
    """`.extern .func` lines for the functions that are called."""
    lines = []
    for name in sorted({ins.opcode for ins in instructions if is_system(ins)}):
        signature = SIGNATURES[name]
        returns = f"({', '.join(f'.param .{kind} r' for kind in signature.returns)}) " if signature.returns else ""
        takes = ", ".join(f".param .{kind} a{n}" for n, kind in enumerate(signature.takes))
        lines.append(f".extern .func {returns}{name}({takes});")
    return lines


def call_text(ins: Instruction, results: list[str], values: list[str]) -> str:
    """The call as PTX has it, in a scope of its own, from the texts of its operands."""
    takes = [f"a{n}" for n in range(len(values))]
    lines = ["{"]
    lines += [f".param .{kind} {name};" for name, kind in zip(takes, ins.source_types, strict=True)]
    lines += [f".param .{kind} r;" for kind in ins.destination_types]
    pairs = zip(takes, values, ins.source_types, strict=True)
    lines += [f"st.param.{kind} [{name}], {value};" for name, value, kind in pairs]
    lines.append(f"call {'(r), ' if results else ''}{ins.opcode}, ({', '.join(takes)});")
    loads = zip(results, ins.destination_types, strict=True)
    lines += [f"ld.param.{kind} {result}, [r];" for result, kind in loads]
    return "\n\t".join([*lines, "}"])


def uses_result(instructions: list[Instruction]) -> Iterable[Instruction]:
    """Calls whose result something reads: it counts arguments on a GPU and is 0 here."""
    read = {register.name for ins in instructions for register in ins.reads()}
    for ins in instructions:
        targets = {register.name for register in ins.writes()}
        if is_system(ins) and targets & read and not isinstance(ins.destinations[0], Sink):
            yield ins
