from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2pcompute.cli.arguments import defines, named_arguments, parse_dims, parse_scalar, with_tolerances
from p2pcompute.cli.submit import Terms
from p2pcompute.client.arguments import In, InOut, Out
from p2pcompute.errors import UsageError
from p2pcompute.wire.policy import SAMPLES_DEFAULT, replicate


def test_every_kind_of_argument_is_understood(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    values = named_arguments([f"x={tmp_path}/x.npy"], [f"y={tmp_path}/x.npy"], ["z=f64:4,5"], ["n=7", "a=0.5:f32"])
    assert isinstance(values["x"], In)
    assert isinstance(values["y"], InOut)
    assert isinstance(values["z"], Out)
    assert np.array_equal(values["x"].array, x)
    assert (values["z"].array.shape, values["z"].array.dtype) == ((4, 5), np.float64)
    assert values["n"] == 7
    assert isinstance(values["a"], np.float32)


def test_an_inout_file_is_not_written_to(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.zeros(3, np.int32))
    value = named_arguments([], [f"y={tmp_path}/y.npy"], [], [])["y"]
    assert isinstance(value, InOut)
    value.array[:] = 1
    assert not np.load(tmp_path / "y.npy").any()


@pytest.mark.parametrize("scalar", ["n", "n=", "n=x", "n=1:i33", "n=300:u8", "n=1.5:i32", "=1", "a b=1"])
def test_a_bad_scalar_is_a_usage_error(scalar: str) -> None:
    with pytest.raises(UsageError, match="--scalar"):
        named_arguments([], [], [], [scalar])


@pytest.mark.parametrize("out", ["z", "z=f32", "z=f33:10", "z=f32:", "z=f32:10,-1", "z=f64:999999999999,999999999999"])
def test_a_bad_output_is_a_usage_error(out: str) -> None:
    with pytest.raises(UsageError, match="--out"):
        named_arguments([], [], [out], [])


def test_an_argument_given_twice_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="n is given twice"):
        named_arguments([], [], [], ["n=1", "n=2"])


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_file_that_holds_no_array_is_a_usage_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.npy"):
        named_arguments([f"x={tmp_path}/x.npy"], [], [], [])


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="plain numbers"):
        named_arguments([f"x={tmp_path}/x.npy"], [], [], [])


def test_dimensions_take_commas_or_crosses() -> None:
    assert [parse_dims(text, "--grid") for text in ("7", "7,8", "7x8x9")] == [(7,), (7, 8), (7, 8, 9)]
    for text in ("", "7,", "7,8,9,10", "-1", "7;8"):
        with pytest.raises(UsageError, match="--grid"):
            parse_dims(text, "--grid")


def test_scalars_take_hexadecimal_and_types() -> None:
    assert parse_scalar("n", "0x10") == 16
    assert parse_scalar("n", "-5:i8") == np.int8(-5)
    assert parse_scalar("a", "3:f64") == np.float64(3)


def test_macros_may_have_no_value() -> None:
    assert defines(["N=3", "FAST", "S=a=b"]) == {"N": "3", "FAST": "", "S": "a=b"}


def test_tolerances_go_to_outputs(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.zeros(4, np.float32))
    values = named_arguments([f"x={tmp_path}/y.npy"], [f"y={tmp_path}/y.npy"], ["z=f64:4"], [])
    found = with_tolerances(values, ["y=ulp:4", "z=rtol:1e-6", "z=ulp:2"])
    assert (found["y"].ulp, found["y"].rtol) == (4, 0.0)  # type: ignore[union-attr]
    assert (found["z"].ulp, found["z"].rtol) == (2, 1e-6)  # type: ignore[union-attr]
    for bad in ("x=ulp:4", "w=ulp:4", "y=ulp:four", "y=percent:1", "y"):
        with pytest.raises(UsageError):
            with_tolerances(values, [bad])


def test_as_many_blocks_are_sampled_as_in_python() -> None:
    assert Terms().samples == SAMPLES_DEFAULT


def test_a_referee_goes_with_replicas_only() -> None:
    assert Terms(replicas=3, referee=True).policy() == replicate(3, 2, referee=True)
    assert not Terms(replicas=3).policy().referee
    for verify in ("adaptive", "sample", "restricted"):
        with pytest.raises(UsageError, match="--verify replicate"):
            Terms(verify=verify, referee=True).policy()  # type: ignore[arg-type]
