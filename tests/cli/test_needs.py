"""What the command line asks of providers."""

from __future__ import annotations

import pytest

from p2pcompute.cli.needs import Wanted
from p2pcompute.errors import UsageError
from p2pcompute.identity import names
from p2pcompute.protocol.matching import CONSTRAINTS, Needs, RankBy
from tests.protocol.stage import key_of

KEY = key_of("operator").public


def test_nothing_said_asks_nothing() -> None:
    assert Wanted().needs() == Needs()


def test_every_constraint_has_an_option() -> None:
    did = [names.did_key(KEY)]
    asked = Wanted(
        price="1.5",
        price_gb="0.25",
        engine="cpu",
        model="m",
        compute_capability="8.6",
        gflops=2.5,
        gflops_f64=1.25,
        copy_gb_s=0.5,
        isolation="jail",
        toolchain="t",
        region=["eu", "us"],
        not_region=["mars"],
        jurisdiction=["EU"],
        not_jurisdiction=["US"],
        watts=300,
        gco2=50,
        rtt_ms=20,
        operator=did,
        not_operator=did,
        rank_by="gflop",
    ).needs(memory_bytes=2**20)
    assert asked == Needs(
        memory_bytes=2**20,
        engine="cpu",
        price_per_device_s_max=1_500_000,
        price_per_gb_max=250_000,
        regions=("eu", "us"),
        regions_denied=("mars",),
        jurisdictions=("EU",),
        jurisdictions_denied=("US",),
        model="m",
        compute_capability=86,
        mflops=2_500,
        mflops_f64=1_250,
        copy_mb_s=500,
        isolation="jail",
        toolchain="t",
        watts_max=300,
        gco2_per_kwh_max=50,
        rtt_ms_max=20,
        operators=(KEY,),
        operators_denied=(KEY,),
        rank_by=RankBy.GFLOP,
    )
    own = {"device_ms"}  # run and order quote have --device-s and --limit-s for it
    assert {c.field for c in CONSTRAINTS if not getattr(asked, c.field)} == own


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(isolation="vault"), "none and jail"),
        (Wanted(compute_capability="7"), "like 7.5"),
        (Wanted(compute_capability="7.55"), "like 7.5"),
        (Wanted(compute_capability="x.1"), "like 7.5"),
        (Wanted(gflops=-1.0), "out of bounds"),
        (Wanted(rank_by="looks"), "device-second and gflop"),
        (Wanted(watts=-1), "out of bounds"),
        (Wanted(region=["x" * 65]), "out of bounds"),
        (Wanted(region=["x"] * 257), "out of bounds"),
        (Wanted(operator=["nobody"]), "did:key"),
        (Wanted(price="dear"), "credits"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(wanted: Wanted, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        wanted.needs()
