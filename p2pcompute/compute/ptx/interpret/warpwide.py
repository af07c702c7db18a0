"""What the lanes of a warp do together, once all that are named have come: shfl, vote, match, activemask, bar.warp.

Source: PTX ISA 8.4, 9.7.9.6 and 9.7.12.6 to 9.7.12.9.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pcompute.compute.ptx.interpret.program import Program
from p2pcompute.compute.ptx.interpret.thread import Thread, meet
from p2pcompute.compute.ptx.ir import Instruction


def is_warp_wide(ins: Instruction) -> bool:
    return ins.opcode in ("shfl", "vote", "match", "activemask") or ins.has("warp")


def members_of(program: Program, ins: Instruction, thread: Thread) -> int | None:
    """The lanes that this one waits for; None for activemask, which waits for nobody in particular."""
    if ins.opcode == "activemask":
        return None
    position = {"shfl": 3, "bar": 0}.get(ins.opcode, 1)
    return program.reader(ins.sources[position], "b32")(thread)


def perform(program: Program, ins: Instruction, group: list[Thread], members: int) -> None:
    """Give every thread of the group its results."""
    _PERFORM[ins.opcode](program, ins, group, members)


def _activemask(program: Program, ins: Instruction, group: list[Thread], members: int) -> None:
    _write(program, ins, 0, group, [sum(1 << thread.lane for thread in group)] * len(group))


def _barrier(program: Program, ins: Instruction, group: list[Thread], members: int) -> None:
    meet(group)


def _shuffle(program: Program, ins: Instruction, group: list[Thread], members: int) -> None:
    """A lane outside of its part of the warp keeps its own value; from a lane that is not here comes zero."""
    value, step, control = (program.reader(operand, "b32") for operand in ins.sources[:3])
    offered = {thread.lane: value(thread) for thread in group}
    results, flags = [], []
    for thread in group:
        place, is_valid = _source(ins, thread.lane, step(thread) & 31, control(thread))
        results.append(offered.get(place, 0))
        flags.append(int(is_valid))
    _write(program, ins, 0, group, results)
    if len(ins.destinations) > 1:
        _write(program, ins, 1, group, flags)


def _source(ins: Instruction, lane: int, step: int, control: int) -> tuple[int, bool]:
    """The lane to read, and whether that is not just the own one for want of another."""
    clamp, segment = control & 31, control >> 8 & 31
    high = (lane & segment) | (clamp & ~segment & 31)
    mode = ins.modifier("mode") or ""
    place = {
        "up": lane - step,
        "down": lane + step,
        "bfly": lane ^ step,
        "idx": (lane & segment) | (step & ~segment & 31),
    }[mode]
    is_valid = place >= high if mode == "up" else place <= high
    return (place if is_valid else lane) & 31, is_valid


def _vote(program: Program, ins: Instruction, group: list[Thread], members: int) -> None:
    read = program.reader(ins.sources[0], "pred")
    voters = [thread for thread in group if members >> thread.lane & 1]
    ballots = [read(thread) for thread in voters]
    match ins.modifier("mode"):
        case "ballot":
            result = sum(1 << thread.lane for thread, yes in zip(voters, ballots, strict=True) if yes)
        case "any":
            result = int(any(ballots))
        case "all":
            result = int(all(ballots))
        case _:
            result = int(len(set(ballots)) <= 1)
    _write(program, ins, 0, group, [result] * len(group))


def _match(program: Program, ins: Instruction, group: list[Thread], members: int) -> None:
    read = program.reader(ins.sources[0], ins.types[0])
    values = {thread.lane: read(thread) for thread in group}
    same = [
        sum(1 << lane for lane, value in values.items() if value == values[thread.lane] and members >> lane & 1)
        for thread in group
    ]
    if not ins.has("all"):
        _write(program, ins, 0, group, same)
        return
    agreed = len({value for lane, value in values.items() if members >> lane & 1}) <= 1
    _write(program, ins, 0, group, [mask if agreed else 0 for mask in same])
    if len(ins.destinations) > 1:
        _write(program, ins, 1, group, [int(agreed)] * len(group))


def _write(program: Program, ins: Instruction, number: int, group: list[Thread], values: list[int]) -> None:
    write = program.writer(ins.destinations[number], ins.destination_types[number])
    for thread, value in zip(group, values, strict=True):
        write(thread, value)


_PERFORM: dict[str, Callable[[Program, Instruction, list[Thread], int], None]] = {
    "activemask": _activemask,
    "bar": _barrier,
    "shfl": _shuffle,
    "vote": _vote,
    "match": _match,
}
