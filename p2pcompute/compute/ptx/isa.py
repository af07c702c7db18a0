"""The instruction set as a table: opcode x modifiers x types -> operands.

A row reads `opcode | modifiers | types | operands`. Modifiers are `slot=choice|choice`, optional with a trailing `?`; a
bare word is a slot with itself as the only choice. The order of the slots is the order in which PTX spells them. Types
are groups separated by `;`, one group per type suffix. Operands are `destinations = sources`, each one of

- `T`, `S`: the first, the last type suffix; `W`: the double width of T; `b32` and others: a fixed type
- `X`: T, or {T, T} after .v2 and {T, T, T, T} after .v4; `addr`, `label`
- `texel`: `[handle, {coordinates}]` of the last type suffix
- `any`: what `mov` takes: a register, a symbol's address, a group
- trailing `?`: optional; trailing `|`: a second predicate destination, written p|q

The first row that fits an instruction wins. What no row fits is refused by name and line. Source: PTX ISA 8.4, chapter
9.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_COMPARE: Final = "cmp=eq|ne|lt|le|gt|ge|lo|ls|hi|hs|equ|neu|ltu|leu|gtu|geu|num|nan"
_INT: Final = "u16 s16 u32 s32 u64 s64"
_BITS: Final = "b16 b32 b64"
_ANY: Final = "b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64"
_VALUE: Final = "b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64"
_CACHE: Final = "cache=ca|cg|cs|lu|cv? evict=L1::evict_normal|L1::evict_first|L1::evict_last|L1::no_allocate?"
_ORDER: Final = "order=weak|volatile|relaxed|acquire|release|acq_rel? scope=cta|gpu|sys|cluster?"
_ATOM: Final = "add|min|max|inc|dec|and|or|xor"
_ATOMIC: Final = "u32 s32 u64 s64 b32 b64"
_ROUND: Final = "round=rn|rz|rm|rp"

TABLE: Final = f"""
add   | carry=cc?                              | u32 s32 u64 s64      | T = T T
add   | sat?                                   | {_INT}               | T = T T
add   | {_ROUND}? sat?                         | f32 f64              | T = T T
add   | round=rn? sat?                         | f16 f16x2            | T = T T
sub   | carry=cc?                              | u32 s32 u64 s64      | T = T T
sub   | sat?                                   | {_INT}               | T = T T
sub   | {_ROUND}? sat?                         | f32 f64              | T = T T
sub   | round=rn? sat?                         | f16 f16x2            | T = T T
addc  | carry=cc?                              | u32 s32 u64 s64      | T = T T
subc  | carry=cc?                              | u32 s32 u64 s64      | T = T T
mul   | part=lo|hi                             | {_INT}               | T = T T
mul   | part=wide                              | u16 s16 u32 s32      | W = T T
mul   | {_ROUND}? sat?                         | f32 f64              | T = T T
mul   | round=rn? sat?                         | f16 f16x2            | T = T T
mad   | part=lo|hi carry=cc?                   | {_INT}               | T = T T T
mad   | part=wide                              | u16 s16 u32 s32      | W = T T W
mad   | {_ROUND}                               | f32 f64              | T = T T T
madc  | part=lo|hi carry=cc?                   | u32 s32 u64 s64      | T = T T T
fma   | {_ROUND} sat?                          | f32 f64              | T = T T T
fma   | round=rn sat?                          | f16 f16x2            | T = T T T
div   |                                        | {_INT}               | T = T T
div   | {_ROUND}                               | f32 f64              | T = T T
div   | approx=approx|full ftz?                | f32                  | T = T T
rem   |                                        | {_INT}               | T = T T
abs   |                                        | s16 s32 s64 f32 f64 f16 f16x2 | T = T
neg   |                                        | s16 s32 s64 f32 f64 f16 f16x2 | T = T
min   |                                        | {_INT} f32 f64       | T = T T
max   |                                        | {_INT} f32 f64       | T = T T
sad   |                                        | {_INT}               | T = T T T
rcp   | {_ROUND}                               | f32 f64              | T = T
rcp   | approx ftz?                            | f32 f64              | T = T
sqrt  | {_ROUND}                               | f32 f64              | T = T
sqrt  | approx ftz?                            | f32                  | T = T
rsqrt | approx ftz?                            | f32 f64              | T = T
sin   | approx ftz?                            | f32                  | T = T
cos   | approx ftz?                            | f32                  | T = T
ex2   | approx ftz?                            | f32 f16 f16x2        | T = T
lg2   | approx ftz?                            | f32                  | T = T
tanh  | approx                                 | f32 f16 f16x2        | T = T
copysign |                                     | f32 f64              | T = T T
testp | test=finite|infinite|number|notanumber|normal|subnormal | f32 f64 | pred = T
and   |                                        | {_BITS} pred         | T = T T
or    |                                        | {_BITS} pred         | T = T T
xor   |                                        | {_BITS} pred         | T = T T
not   |                                        | {_BITS} pred         | T = T
cnot  |                                        | {_BITS}              | T = T
lop3  |                                        | b32                  | T = T T T u32
shl   |                                        | {_BITS}              | T = T u32
shr   |                                        | {_BITS} {_INT}       | T = T u32
shf   | way=l|r wrap=wrap|clamp                | b32                  | T = T T u32
popc  |                                        | b32 b64              | u32 = T
clz   |                                        | b32 b64              | u32 = T
brev  |                                        | b32 b64              | T = T
bfind | shiftamt?                              | u32 s32 u64 s64      | u32 = T
bfe   |                                        | u32 s32 u64 s64      | T = T u32 u32
bfi   |                                        | b32 b64              | T = T T u32 u32
prmt  | permute=f4e|b4e|rc8|ecl|ecr|rc16?      | b32                  | T = T T T
dp4a  |                                        | u32 s32 ; u32 s32    | u32 = T S u32
dp2a  | part=lo|hi                             | u32 s32 ; u32 s32    | u32 = T S u32
vabsdiff2 | merge=add?                         | u32 s32 ; u32 s32 ; u32 s32 | T = T S T
vabsdiff4 | merge=add?                         | u32 s32 ; u32 s32 ; u32 s32 | T = T S T
setp  | {_COMPARE} bool=and|or|xor?             | {_VALUE} f16 f16x2   | pred pred| = T T pred?
set   | {_COMPARE} bool=and|or|xor?            | u32 s32 f32 ; {_VALUE} | T = S S pred?
set   | {_COMPARE} bool=and|or|xor?            | u16 s16 u32 s32 f16 ; f16 | T = S S pred?
set   | {_COMPARE} bool=and|or|xor?            | f16 ; {_VALUE}       | T = S S pred?
set   | {_COMPARE} bool=and|or|xor?            | u32 s32 f16x2 ; f16x2 | T = S S pred?
selp  |                                        | {_VALUE}             | T = T T pred
slct  |                                        | {_VALUE} ; s32       | T = T T S
mov   |                                        | {_VALUE} pred        | any = any
cvta  | space=global|shared|local|const|param  | u64                  | T = any
cvta  | to=to space=global|shared|local|const|param | u64             | T = T
cvt   | round=rn|rz|rm|rp|rni|rzi|rmi|rpi? sat? | {_ANY} f16 ; {_ANY} f16 | T = S
ld    | space=param                            | {_ANY}               | T = addr
ld    | space=param vec=v2|v4                  | {_ANY}               | X = addr
ld    | {_ORDER} space=global|shared|local|const? {_CACHE} nc? vec=v2|v4? | {_ANY} | X = addr
st    | space=param vec=v2|v4?                 | {_ANY}               | addr = X
st    | {_ORDER} space=global|shared|local? {_CACHE} vec=v2|v4? | {_ANY} | addr = X
atom  | {_ORDER} space=global|shared? op=cas   | b16 b32 b64          | T = addr T T
atom  | {_ORDER} space=global|shared? op={_ATOM}|exch | {_ATOMIC} | T = addr T
red   | {_ORDER} space=global|shared? op={_ATOM} | {_ATOMIC}       | = addr T
atom  | {_ORDER} space=global|shared? op=add noftz | f16 f16x2       | T = addr T
atom  | {_ORDER} space=global|shared? op=add|exch | f32 f64        | T = addr T
red   | {_ORDER} space=global|shared? op=add | f32 f64             | = addr T
red   | {_ORDER} space=global|shared? op=add noftz | f16 f16x2       | = addr T
shfl  | sync mode=up|down|bfly|idx             | b32                  | T pred| = T b32 b32 b32
vote  | sync mode=all|any|uni                  | pred                 | T = T b32
vote  | sync mode=ballot                       | b32                  | T = pred b32
match | any sync                               | b32 b64              | b32 = T b32
match | all sync                               | b32 b64              | b32 pred| = T b32
activemask |                                   | b32                  | T =
bar   | warp sync                              |                      | = b32
bar   | cta? sync                              |                      | = u32 u32?
bar   | cta? arrive                            |                      | = u32 u32
bar   | cta? red red_op=popc                   | u32                  | T = u32 pred
bar   | cta? red red_op=and|or                 | pred                 | T = u32 pred
barrier | cta? sync aligned?                   |                      | = u32 u32?
barrier | cta? arrive aligned?                 |                      | = u32 u32
barrier | cta? red red_op=popc aligned?        | u32                  | T = u32 pred
barrier | cta? red red_op=and|or aligned?      | pred                 | T = u32 pred
tex   | level=level? geometry=1d|2d|3d|a1d|a2d vec=v4 | f32 u32 s32 ; f32 s32 | X = texel S?
membar | scope=cta|gl|sys                      |                      | =
fence | sem=sc|acq_rel? scope=cta|gpu|sys      |                      | =
nanosleep |                                    | u32                  | = T
bra   | uni?                                   |                      | = label
ret   | uni?                                   |                      | =
exit  |                                        |                      | =
trap  |                                        |                      | =
"""


TRAILING: Final = frozenset({"permute", "merge"})
"""Slots that PTX spells behind the types."""


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    choices: frozenset[str]
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Form:
    """One row of the table."""

    opcode: str
    slots: tuple[Slot, ...]
    types: tuple[frozenset[str], ...]
    destinations: tuple[str, ...]
    sources: tuple[str, ...]

    def match(self, suffixes: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]] | None:
        """Modifiers in table order and type suffixes, or None when the row does not fit.

        Suffixes may stand in any order, as drivers accept some of them swapped; the canonical text has the table's.
        """
        chosen: dict[str, str] = {}
        types: list[str] = []
        for suffix in suffixes:
            slot = next((s for s in self.slots if suffix in s.choices and s.name not in chosen), None)
            if slot is not None:
                chosen[slot.name] = suffix
            elif len(types) < len(self.types) and suffix in self.types[len(types)]:
                types.append(suffix)
            else:
                return None
        if len(types) != len(self.types) or any(not s.is_optional and s.name not in chosen for s in self.slots):
            return None
        return tuple((s.name, chosen[s.name]) for s in self.slots if s.name in chosen), tuple(types)


def _slot(text: str) -> Slot:
    optional = text.endswith("?")
    name, _, choices = text.rstrip("?").partition("=")
    return Slot(name, frozenset((choices or name).split("|")), optional)


def _row(line: str) -> Form:
    opcode, modifiers, types, operands = (part.strip() for part in _columns(line))
    destinations, _, sources = operands.partition("=")
    groups = tuple(frozenset(group.split()) for group in types.split(";")) if types else ()
    slots = tuple(_slot(word) for word in modifiers.split())
    return Form(opcode, slots, groups, tuple(destinations.split()), tuple(sources.split()))


def _columns(line: str) -> list[str]:
    """Split at ` | ` only: a bare bar belongs to a choice."""
    return line.replace(" |", " \0").split("\0")


def _read(table: str) -> Mapping[str, tuple[Form, ...]]:
    forms: dict[str, list[Form]] = {}
    for line in table.strip().splitlines():
        form = _row(line)
        forms.setdefault(form.opcode, []).append(form)
    return MappingProxyType({opcode: tuple(rows) for opcode, rows in forms.items()})


FORMS: Final[Mapping[str, tuple[Form, ...]]] = _read(TABLE)
