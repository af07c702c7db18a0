from __future__ import annotations

import kernels_cu
from tests.cli.command import Command


def test_the_library_is_listed(command: Command) -> None:
    assert command("kernel", "list", "--json") == 0
    assert [row["kernel"] for row in command.last] == list(kernels_cu.names())


def test_a_kernels_source_can_be_had(command: Command) -> None:
    assert command("kernel", "show", "saxpy") == 0
    assert command.out == kernels_cu.load("saxpy").source


def test_a_kernel_is_checked_against_its_reference(command: Command) -> None:
    assert command("kernel", "check", "saxpy", "--json") == 0
    (row,) = command.last
    assert row["fault"] == ""


def test_an_unknown_kernel_is_a_usage_error(command: Command) -> None:
    assert command("kernel", "check", "nope") == 2
    assert "there are" in command.err
