"""An entry made ready to run: every instruction a step, a function from a thread to its next place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.interpret import textures
from p2pcompute.compute.ptx.interpret.findings import Kind
from p2pcompute.compute.ptx.interpret.integers import LaneFunction
from p2pcompute.compute.ptx.interpret.lanes import lane_function
from p2pcompute.compute.ptx.interpret.memory import Access, Segment, Watch
from p2pcompute.compute.ptx.interpret.numbers import FORMATS, signed, to_bits, to_float, wrap
from p2pcompute.compute.ptx.interpret.shadow import ATOMIC, PLAIN, VOLATILE
from p2pcompute.compute.ptx.interpret.thread import ENDED, HELD, Thread
from p2pcompute.compute.ptx.ir import (
    CARRY_REGISTER,
    READS_CARRY,
    Address,
    Entry,
    Group,
    Immediate,
    Instruction,
    Label,
    Module,
    Negated,
    Operand,
    Register,
    Special,
    Symbol,
    Texel,
)
from p2pcompute.compute.ptx.registers import shared_layout
from p2pcompute.compute.ptx.textures import GEOMETRIES, places
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError

Step = Callable[[Thread], int]
Reader = Callable[[Thread], int]
Writer = Callable[[Thread, int], None]

_ATOMIC_ORDERS: Final = frozenset({"relaxed", "acquire", "release", "acq_rel"})
_MEETING: Final = frozenset({"bar", "barrier", "shfl", "vote", "match", "activemask"})


class Program:
    """`steps` and `instructions` run in parallel: the place of a thread is an index into both."""

    def __init__(self, module: Module, entry: Entry, parameters: bytes, lines: list[str], watch: Watch) -> None:
        """`lines` is the text that the module was parsed from. Raises PtxError for what the checker does not know."""
        self.module = module
        self.entry = entry
        self.parameters = parameters
        self.watch = watch
        self.lines = lines
        self.local_bytes = -(-entry.local_bytes // layout.LOCAL_ALIGN) * layout.LOCAL_ALIGN
        self._shared_offsets, self.shared_bytes = shared_layout(module, entry)
        self._numbers: dict[str, int] = {}
        self._readers: dict[tuple[Operand, str], Reader] = {}
        self.instructions = list(entry.instructions())
        for ins in self.instructions:
            for register in (*ins.reads(), *ins.writes()):
                self._number(register)
        self._places = _label_places(entry)
        self.steps = [self._guarded(ins, place + 1) for place, ins in enumerate(self.instructions)]
        self.steps.append(lambda thread: ENDED)
        self.register_count = len(self._numbers)

    def text(self, ins: Instruction) -> str:
        """The instruction as the canonical text has it."""
        return self.lines[ins.line - 1].strip() if 0 < ins.line <= len(self.lines) else ins.spelling

    # Steps -------------------------------------------------------------------------------------------------------

    def _guarded(self, ins: Instruction, behind: int) -> Step:
        step = self._step(ins, behind)
        if ins.guard is None:
            return step
        number, unwanted = self._number(ins.guard), int(ins.guard_negated)
        return lambda thread: step(thread) if thread.registers[number] != unwanted else behind

    def _step(self, ins: Instruction, behind: int) -> Step:
        match ins.opcode:
            case "bra":
                target = ins.sources[0]
                assert isinstance(target, Label)
                place = self._places[target.name]
                return lambda thread: place
            case "ret" | "exit":
                return lambda thread: ENDED
            case "trap" | "__assertfail":
                return self._trap(ins)
            case "vprintf":
                return self._print(ins, behind)
            case "ld" | "st":
                return self._transfer(ins, behind)
            case "tex":
                return self._texture(ins, behind)
            case "atom" | "red":
                return self._atomic(ins, behind)
            case "mov" | "cvta":
                return self._move(ins, behind)
            case opcode if opcode in _MEETING:
                return lambda thread: HELD
            case "membar" | "fence":
                return self._fence(behind)
            case "nanosleep":
                return lambda thread: behind
            case _:
                return self._lane_wise(ins, behind)

    def _trap(self, ins: Instruction) -> Step:
        text = self.text(ins)

        def trap(thread: Thread) -> int:
            self.watch.report(thread, Kind.TRAP, ins.line, text, "executes a trap, as a failed assertion does")
            return ENDED

        return trap

    def _print(self, ins: Instruction, behind: int) -> Step:
        """Nothing is printed; the result is what printf returns for a format without arguments."""
        writers = [self.writer(o, t) for o, t in zip(ins.destinations, ins.destination_types, strict=True)]

        def silent(thread: Thread) -> int:
            for write in writers:
                write(thread, 0)
            return behind

        return silent

    def _fence(self, behind: int) -> Step:
        def fence(thread: Thread) -> int:
            self.watch.ordering.fence(thread)
            return behind

        return fence

    def _lane_wise(self, ins: Instruction, behind: int) -> Step:
        function = lane_function(ins)
        readers = [self.reader(o, t) for o, t in zip(ins.sources, ins.source_types, strict=True)]
        if ins.opcode in READS_CARRY:
            readers.append(self.reader(CARRY_REGISTER, "pred"))
        writers = [self.writer(o, t) for o, t in zip(ins.destinations, ins.destination_types, strict=True)]
        if ins.modifier("carry") is not None:
            writers.append(self.writer(CARRY_REGISTER, "pred"))
        if len(writers) > 1:
            return _several(function, readers, writers, behind)
        return _one(function, readers, writers[0], behind)

    def _move(self, ins: Instruction, behind: int) -> Step:
        target, source, type_name = ins.destinations[0], ins.sources[0], ins.types[0]
        if isinstance(target, Group):
            read, width = self.reader(source, type_name), TYPES[type_name].bits // len(target.items)
            places = [width * number for number in range(len(target.items))]
            parts = [self.writer(item, f"b{width}") for item in target.items]
            return _several(lambda a: tuple(wrap(a >> place, width) for place in places), [read], parts, behind)
        write = self.writer(target, type_name)
        if isinstance(source, Group):
            width = TYPES[type_name].bits // len(source.items)
            readers = [self.reader(item, f"b{width}") for item in source.items]
            return _one(lambda *a: sum(p << width * n for n, p in enumerate(a)), readers, write, behind)
        shift = self._window(ins) if ins.opcode == "cvta" else 0
        return _one(lambda a: a + shift, [self.reader(source, type_name)], write, behind)

    def _window(self, ins: Instruction) -> int:
        """What cvta adds: global and const addresses are generic already."""
        segment = {"shared": layout.SHARED_SEGMENT, "local": layout.LOCAL_SEGMENT}.get(ins.modifier("space") or "", 0)
        return (segment << layout.OFFSET_BITS) * (-1 if ins.has("to") else 1)

    # Memory ------------------------------------------------------------------------------------------------------

    def _access(self, ins: Instruction, count: int, *, reads: bool, writes: bool) -> Access:
        order = ins.modifier("order")
        strength = ATOMIC if order in _ATOMIC_ORDERS else VOLATILE if order == "volatile" else PLAIN
        if ins.opcode in ("atom", "red"):
            strength = ATOMIC
        size = TYPES[ins.types[0]].size_bytes
        space = ins.modifier("space") or "generic"
        return Access(space, size, count, strength, reads, writes, ins.line, self.text(ins))

    def _transfer(self, ins: Instruction, behind: int) -> Step:
        loads, type_name = ins.opcode == "ld", ins.types[0]
        value = ins.destinations[0] if loads else ins.sources[-1]
        items = value.items if isinstance(value, Group) else (value,)
        address = ins.sources[0] if loads else ins.destinations[0]
        assert isinstance(address, Address)
        if ins.has("param"):
            return self._parameter(ins, address, items, behind)
        access = self._access(ins, len(items), reads=loads, writes=not loads)
        place, watch = self._address(address), self.watch
        if loads:
            writers = [self.writer(item, type_name) for item in items]

            def load(thread: Thread) -> int:
                for write, value in zip(writers, watch.load(thread, access, place(thread)), strict=True):
                    write(thread, value)
                return behind

            return load
        bits = TYPES[type_name].bits
        readers = [self.reader(item, type_name) for item in items]

        def store(thread: Thread) -> int:
            watch.store(thread, access, place(thread), [wrap(read(thread), bits) for read in readers])
            return behind

        return store

    def _parameter(self, ins: Instruction, address: Address, items: tuple[Operand, ...], behind: int) -> Step:
        if isinstance(address.base, Register):
            return self._computed_parameter(ins, address, items, behind)
        parameter = self.entry.parameter(address.base.name) if isinstance(address.base, Symbol) else None
        if parameter is None or ins.opcode == "st":
            raise PtxError(f"PTX line {ins.line}: the checker does not know '{ins.spelling}' on that address.")
        start, size = parameter.offset_bytes + address.offset_bytes, TYPES[ins.types[0]].size_bytes
        if address.offset_bytes < 0 or address.offset_bytes + size * len(items) > parameter.size_bytes:
            raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' reads beyond its parameter.")
        values = [int.from_bytes(self.parameters[start + n * size :][:size], "little") for n in range(len(items))]
        writers = [self.writer(item, ins.types[0]) for item in items]

        def load(thread: Thread) -> int:
            for write, value in zip(writers, values, strict=True):
                write(thread, value)
            return behind

        return load

    def _computed_parameter(self, ins: Instruction, address: Address, items: tuple[Operand, ...], behind: int) -> Step:
        """An array inside of a structure, indexed."""
        access, place = self._access(ins, len(items), reads=True, writes=False), self._address(address)
        writers = [self.writer(item, ins.types[0]) for item in items]
        parameters = Segment("parameters", memoryview(self.parameters), 0, is_written=True)

        def load(thread: Thread) -> int:
            for write, value in zip(writers, self.watch.load(thread, access, place(thread), parameters), strict=True):
                write(thread, value)
            return behind

        return load

    def _texture(self, ins: Instruction, behind: int) -> Step:
        texel, targets = ins.sources[0], ins.destinations[0]
        assert isinstance(texel, Texel)
        assert isinstance(targets, Group)
        geometry, coordinate, text = GEOMETRIES[ins.modifier("geometry") or ""], ins.types[-1], self.text(ins)
        axes, layer_place = places(texel, geometry)
        handle = self.reader(texel.handle, "u64")
        layer = self.reader(texel.coordinates[layer_place], "u32") if layer_place is not None else lambda thread: 0
        readers = [self.reader(texel.coordinates[place], coordinate) for place in axes]
        writers = [self.writer(item, "b32") for item in targets.items]
        as_float = ins.types[0] == "f32"

        def read(thread: Thread) -> int:
            found = self.watch.texture(thread, handle(thread), geometry, ins.line, text)
            values, place = [0] * len(writers), [read(thread) for read in readers]
            if found is not None and coordinate == "f32":
                at = [to_float(bits, FORMATS["f32"]) for bits in place]
                values = textures.at(*found[:2], at, layer(thread), found[2], as_float=as_float)
            elif found is not None:
                values = textures.by_number(*found[:2], place, layer(thread), found[2])
            for write, value in zip(writers, values, strict=True):
                write(thread, value)
            return behind

        return read

    def _address(self, address: Address) -> Reader:
        """The address in its space; 32-bit bases wrap at 32 bits."""
        base, offset = address.base, address.offset_bytes
        if isinstance(base, Register):
            bits = TYPES[base.type_name].bits
            read = self.reader(base, f"u{bits}")
            return lambda thread: wrap(read(thread) + offset, bits)
        fixed = wrap((self._symbol(base.name) if isinstance(base, Symbol) else base.value) + offset, 64)
        return lambda thread: fixed

    def _symbol(self, name: str) -> int:
        """The address of a variable in its own state space."""
        parameter = self.entry.parameter(name)
        if parameter is not None and name not in self.entry.variables:
            return parameter.offset_bytes
        variable = self.entry.variables.get(name) or self.module.variables[name]
        segment = {"global": layout.GLOBAL_SEGMENT, "const": layout.CONST_SEGMENT}.get(variable.space)
        if segment is not None:
            return segment << layout.OFFSET_BITS | variable.offset_bytes
        if variable.space == "shared" and name not in self.entry.variables:
            return self._shared_offsets[name]
        return variable.offset_bytes

    def _atomic(self, ins: Instruction, behind: int) -> Step:
        access = self._access(ins, 1, reads=True, writes=True)
        address = ins.sources[0]
        assert isinstance(address, Address)
        type_name, watch, change = ins.types[0], self.watch, _change(ins)
        place, bits = self._address(address), TYPES[type_name].bits
        readers = [self.reader(operand, type_name) for operand in ins.sources[1:]]
        writers = [self.writer(operand, type_name) for operand in ins.destinations]

        def atomic(thread: Thread) -> int:
            values = [read(thread) for read in readers]
            old = watch.exchange(thread, access, place(thread), lambda old: wrap(change(old, *values), bits))
            for write in writers:
                write(thread, old)
            return behind

        return atomic

    # Operands ----------------------------------------------------------------------------------------------------

    def _number(self, register: Register) -> int:
        return self._numbers.setdefault(register.name, len(self._numbers))

    def reader(self, operand: Operand, type_name: str) -> Reader:
        """The operand's value: negative where the type is signed and it is, otherwise bits."""
        key = operand, type_name
        if key not in self._readers:
            self._readers[key] = self._reader(operand, type_name)
        return self._readers[key]

    def _reader(self, operand: Operand, type_name: str) -> Reader:
        kind = TYPES[type_name]
        match operand:
            case Register():
                return _register_reader(self._number(operand), kind.bits, is_signed=kind.is_signed)
            case Negated(register):
                number = self._number(register)
                return lambda thread: 1 - thread.registers[number]
            case Immediate(value, of):
                value = wrap(value, kind.bits) if of == "int" or kind.bits != 1 else value
                fixed = signed(value, kind.bits) if kind.is_signed else value
                return lambda thread: fixed
            case Special(name):
                return lambda thread: thread.special(name)
            case Symbol(name, offset):
                address = wrap(self._symbol(name) + offset, kind.bits)
                return lambda thread: address
            case _:
                raise PtxError(f"An operand of type .{type_name} cannot be read.")

    def writer(self, operand: Operand, type_name: str) -> Writer:
        """Keeps the low bits; a register wider than the type gets the sign, or zeroes, above."""
        if not isinstance(operand, Register):
            return lambda thread, value: None
        number, kind, have = self._number(operand), TYPES[type_name], TYPES[operand.type_name]
        mask = (1 << have.bits) - 1
        if have.bits == kind.bits:
            return lambda thread, value: thread.registers.__setitem__(number, value & mask)
        if kind.is_signed:
            return lambda thread, value: thread.registers.__setitem__(number, signed(value, kind.bits) & mask)
        narrow = (1 << kind.bits) - 1
        return lambda thread, value: thread.registers.__setitem__(number, value & narrow)


def _register_reader(number: int, bits: int, *, is_signed: bool) -> Reader:
    if is_signed:
        return lambda thread: signed(thread.registers[number], bits)
    mask = (1 << bits) - 1
    return lambda thread: thread.registers[number] & mask


def _label_places(entry: Entry) -> dict[str, int]:
    places: dict[str, int] = {}
    count = 0
    for statement in entry.body:
        if isinstance(statement, Label):
            places[statement.name] = count
        else:
            count += 1
    return places


def _one(function: LaneFunction, readers: list[Reader], write: Writer, behind: int) -> Step:
    """The common shapes are spelled out: a loop over operands would take twice the time."""
    if len(readers) == 2:
        first, second = readers

        def binary(thread: Thread) -> int:
            write(thread, function(first(thread), second(thread)))
            return behind

        return binary

    def general(thread: Thread) -> int:
        write(thread, function(*[read(thread) for read in readers]))
        return behind

    return general


def _several(function: LaneFunction, readers: list[Reader], writers: list[Writer], behind: int) -> Step:
    def step(thread: Thread) -> int:
        results = function(*[read(thread) for read in readers])
        for write, result in zip(writers, results, strict=True):
            write(thread, result)
        return behind

    return step


def _change(ins: Instruction) -> LaneFunction:
    """Old value and operands, as bits or negative numbers by type, to the new value. Source: PTX ISA 9.7.12.3."""
    kind, operation = TYPES[ins.types[0]], ins.modifier("op") or ""
    if operation == "add" and kind.is_float:
        return _float_sum(kind.name)
    simple: dict[str, LaneFunction] = {
        "add": lambda old, x: old + x,
        "and": lambda old, x: old & x,
        "or": lambda old, x: old | x,
        "xor": lambda old, x: old ^ x,
        "exch": lambda old, x: x,
        "inc": lambda old, x: 0 if old >= x else old + 1,
        "dec": lambda old, x: x if old == 0 or old > x else old - 1,
        "cas": lambda old, expected, x: x if old == expected else old,
    }
    if operation in simple:
        return simple[operation]
    if operation not in ("min", "max") or kind.is_float:
        raise PtxError(f"PTX line {ins.line}: the checker does not know '{ins.spelling}'.")
    pick = min if operation == "min" else max
    if kind.is_signed:
        return lambda old, x: pick(signed(old, kind.bits), x)
    return lambda old, x: pick(old, x)


def _float_sum(type_name: str) -> LaneFunction:
    if type_name == "f16x2":
        half = _float_sum("f16")
        return lambda old, x: half(old & 0xFFFF, x & 0xFFFF) | half(old >> 16, x >> 16) << 16
    form = FORMATS[type_name]
    return lambda old, x: to_bits(to_float(old, form) + to_float(x, form), form)
