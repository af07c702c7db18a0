"""An operator lends rights for a while, and can take them back."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest

from p2pcompute.identity.delegation import Authority, Capability, Grant

OPERATOR, NODE, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
BOTH = Capability.PROVIDE | Capability.REQUEST
GRANT = Grant(OPERATOR, NODE, BOTH, issued_at=1_000, expires_at=2_000)


@pytest.mark.parametrize(("wall_ms", "holds"), [(999, False), (1_000, True), (1_999, True), (2_000, False)])
def test_a_grant_holds_between_its_times(wall_ms: int, holds: bool) -> None:
    assert Authority().holds(GRANT, NODE, Capability.PROVIDE, wall_ms) is holds


@pytest.mark.parametrize(("wall_ms", "holds"), [(899, False), (900, True), (2_000, False)])
def test_a_clock_that_runs_behind_may_see_a_grant_early_but_never_late(wall_ms: int, holds: bool) -> None:
    assert Authority().holds(GRANT, NODE, Capability.PROVIDE, wall_ms, skew_ms=100) is holds


def test_a_grant_serves_its_subject_only() -> None:
    assert not Authority().holds(GRANT, OTHER, Capability.PROVIDE, 1_500)


@pytest.mark.parametrize("lent", [Capability(0), Capability.PROVIDE, Capability.REQUEST, BOTH])
@pytest.mark.parametrize("needs", [Capability.PROVIDE, Capability.REQUEST, BOTH])
def test_every_needed_capability_must_be_lent(lent: Capability, needs: Capability) -> None:
    grant = msgspec.structs.replace(GRANT, capabilities=lent)
    assert Authority().holds(grant, NODE, needs, 1_500) is (needs & lent == needs)


@pytest.mark.parametrize(("revoked_at", "holds"), [(999, True), (1_000, False), (1_500, False)])
def test_a_revocation_voids_what_was_lent_up_to_its_issue(revoked_at: int, holds: bool) -> None:
    authority = Authority()
    authority.revoke(OPERATOR, NODE, revoked_at)
    assert authority.holds(GRANT, NODE, BOTH, 1_700) is holds


def test_the_newest_revocation_counts_in_whatever_order_they_come() -> None:
    for order in permutations((500, 1_200, 1_100)):
        authority = Authority()
        for at in order:
            authority.revoke(OPERATOR, NODE, at)
        assert list(authority.revocations()) == [(OPERATOR, NODE, 1_200)]


def test_only_a_newer_revocation_is_news() -> None:
    authority = Authority()
    assert [authority.revoke(OPERATOR, NODE, at) for at in (0, 0, 7, 6, 8)] == [True, False, True, False, True]


def test_a_revocation_by_another_operator_or_of_another_key_means_nothing() -> None:
    authority = Authority()
    authority.revoke(OTHER, NODE, 1_500)
    authority.revoke(OPERATOR, OTHER, 1_500)
    assert authority.holds(GRANT, NODE, BOTH, 1_700)


def test_the_oldest_revocations_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Authority, "REVOCATIONS_MAX", 3)
    authority = Authority()
    for i in range(5):
        authority.revoke(OPERATOR, bytes([i]) * 32, 1_000)
    assert [subject[0] for _, subject, _ in authority.revocations()] == [2, 3, 4]
