"""The options that say which providers will do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from p2pcompute.cli.money import parse_credits
from p2pcompute.errors import UsageError

if TYPE_CHECKING:
    from p2pcompute.protocol.matching import Needs


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Wanted:
    """Whom to ask. What several values are given for, is given several times."""

    price: Annotated[str | None, Parameter(help="The most a device-second may cost, in credits.")] = None
    price_gb: Annotated[str | None, Parameter(help="The most a gigabyte that travels may cost, in credits.")] = None
    engine: Annotated[str, Parameter(help="Kind of engine, like cpu.")] = ""
    model: Annotated[str, Parameter(help="Processor, spelled as the book spells it.")] = ""
    compute_capability: Annotated[str, Parameter(help="Least CUDA compute capability, like 7.5.")] = ""
    gflops: Annotated[float, Parameter(help="Least measured GFLOP/s.")] = 0.0
    gflops_f64: Annotated[float, Parameter(help="The same in double precision.")] = 0.0
    copy_gb_s: Annotated[float, Parameter(help="Least measured copy rate, in GB/s.")] = 0.0
    isolation: Annotated[str, Parameter(help="Least level of isolation: none or jail.")] = ""
    toolchain: Annotated[str, Parameter(help="Id of the compiler the provider must have.")] = ""
    region: Annotated[list[str] | None, Parameter(help="Region that will do.")] = None
    not_region: Annotated[list[str] | None, Parameter(help="Region that will not.")] = None
    jurisdiction: Annotated[list[str] | None, Parameter(help="Jurisdiction that will do.")] = None
    not_jurisdiction: Annotated[list[str] | None, Parameter(help="Jurisdiction that will not.")] = None
    watts: Annotated[int, Parameter(help="The most power the provider may state, in watts.")] = 0
    gco2: Annotated[int, Parameter(help="The most grams of CO2 per kilowatt-hour it may state.")] = 0
    rtt_ms: Annotated[int, Parameter(help="The longest round trip, as far as it was measured.")] = 0
    operator: Annotated[list[str] | None, Parameter(help="Operator that will do, by its did:key.")] = None
    not_operator: Annotated[list[str] | None, Parameter(help="Operator that will not.")] = None
    rank_by: Annotated[
        str, Parameter(help="Which price decides: device-second, or gflop (of a given amount of work).")
    ] = "device-second"

    def needs(self, *, memory_bytes: int = 0) -> Needs:
        """As the client takes them. Raises UsageError."""
        import msgspec

        from p2pcompute.identity.names import parse_name
        from p2pcompute.protocol.matching import ISOLATION, Needs, RankBy

        if self.isolation and self.isolation not in ISOLATION:
            raise UsageError(f"--isolation {self.isolation[:64]!r}: there are {' and '.join(ISOLATION)}")
        if self.rank_by not in tuple(RankBy):
            raise UsageError(f"--rank-by {self.rank_by[:64]!r}: there are {' and '.join(RankBy)}")
        asked = Needs(
            memory_bytes=memory_bytes,
            engine=self.engine,
            price_per_device_s_max=parse_credits(self.price) if self.price is not None else 0,
            price_per_gb_max=parse_credits(self.price_gb) if self.price_gb is not None else 0,
            regions=tuple(self.region or ()),
            regions_denied=tuple(self.not_region or ()),
            jurisdictions=tuple(self.jurisdiction or ()),
            jurisdictions_denied=tuple(self.not_jurisdiction or ()),
            model=self.model,
            compute_capability=_tenths(self.compute_capability),
            mflops=int(self.gflops * 1000),
            copy_mb_s=int(self.copy_gb_s * 1000),
            isolation=self.isolation,
            toolchain=self.toolchain,
            watts_max=self.watts,
            gco2_per_kwh_max=self.gco2,
            rtt_ms_max=self.rtt_ms,
            operators=tuple(map(parse_name, self.operator or ())),
            operators_denied=tuple(map(parse_name, self.not_operator or ())),
            rank_by=RankBy(self.rank_by),
            mflops_f64=int(self.gflops_f64 * 1000),
        )
        try:
            return msgspec.convert(msgspec.structs.asdict(asked), Needs)
        except msgspec.ValidationError as error:
            raise UsageError(f"what is asked of providers is out of bounds: {error}") from error


def _tenths(text: str) -> int:
    """7.5 is 75."""
    whole, _, tenth = text.partition(".")
    if not text:
        return 0
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 3 and tenth in tuple("0123456789")):
        raise UsageError(f"{text[:64]!r} is no compute capability; write it like 7.5")
    return int(whole) * 10 + int(tenth)


WANTED: Final = Wanted()
