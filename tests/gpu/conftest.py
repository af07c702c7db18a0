"""The CUDA engine on a GPU. Without one these tests are skipped, or fail where P2PCOMPUTE_REQUIRE_GPU is 1.

Two hidden options of a run of this folder alone (tests/gpu/pytest.ini): `--fake-pycuda FOLDER` runs them on a fake
device (tests/compute/fake_cuda.py), which shows that they work, and is no result of a GPU; `--notes FILE` writes what
they observed as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gpu.client import Place, Worker, WorkerGoneError, has_device
from tests.gpu.faults import usable

REQUIRE = "P2PCOMPUTE_REQUIRE_GPU"
Note = Callable[[str, object], None]
_NOTES = pytest.StashKey[dict[str, object]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fake-pycuda", help=argparse.SUPPRESS)
    parser.addoption("--notes", help=argparse.SUPPRESS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NOTES] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("notes", None)
    if path:
        Path(path).write_text(json.dumps(session.config.stash[_NOTES], indent=1), encoding="utf-8")


def _missing(reason: str) -> None:
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE} is 1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def asked(pytestconfig: pytest.Config) -> Place:
    """Whose device it is, before anything was tried there. Skips where there is none."""
    fake = pytestconfig.getoption("fake_pycuda", None)
    if fake:
        return Place("fake", (fake,))
    if not has_device():
        _missing("there is no NVIDIA device on this machine")
    return Place("gpu")


@pytest.fixture(scope="session")
def tried(asked: Place) -> tuple[Place, str]:
    """The place where workers do their work, and what jailed ones said if they do not."""
    try:
        return usable(asked)
    except WorkerGoneError as error:
        _missing(str(error))
        raise


@pytest.fixture(scope="session")
def place(tried: tuple[Place, str]) -> Place:
    return tried[0]


@pytest.fixture(scope="session")
def shared_worker(place: Place) -> Iterator[Worker]:
    with Worker(place) as worker:
        yield worker


@pytest.fixture
def worker(shared_worker: Worker) -> Worker:
    """A running worker, perhaps one that has run other tests' tasks."""
    shared_worker.start()
    return shared_worker


@pytest.fixture
def note(pytestconfig: pytest.Config) -> Note:
    """`note(key, value)` puts something observed into the report."""
    return pytestconfig.stash[_NOTES].__setitem__
