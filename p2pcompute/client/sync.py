"""The client for everyone else: a node on a background thread, jobs that behave like futures."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from p2pcompute.client.aio import AsyncClient, AsyncJob, AsyncSession, Result, open_client
from p2pcompute.client.arguments import Value
from p2pcompute.client.kernel import Kernel
from p2pcompute.errors import LocalError

T = TypeVar("T")


class Job:
    """A submitted job, with the manners of concurrent.futures.Future."""

    def __init__(self, client: Client, job: AsyncJob) -> None:
        self._client, self._job = client, job
        self._future: concurrent.futures.Future[Result] = concurrent.futures.Future()
        client._spawn(self._watch)

    async def _watch(self) -> None:
        try:
            self._future.set_result(await self._job.result())
        except Exception as error:
            self._future.set_exception(error)
        except BaseException:
            self._future.set_exception(LocalError("the client was closed before the job was over"))
            raise

    @property
    def id(self) -> str:
        """The job's id, as `p2pcompute job list` shows it."""
        return self._job.id.hex()

    def result(self, timeout: float | None = None) -> Result:
        """Wait (seconds) for the outputs. Raises TimeoutError, or the error the job ended with."""
        return self._future.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait (seconds); the error the job ended with, or None."""
        return self._future.exception(timeout)

    def done(self) -> bool:
        """Whether it is over."""
        return self._future.done()

    def add_done_callback(self, callback: Callable[[Job], object]) -> None:
        """Call `callback(job)` when it is over, on the client's thread."""
        self._future.add_done_callback(lambda _: callback(self))

    def cancel(self) -> None:
        """Give it up: providers stop, nothing is owed."""
        self._client._call(self._job.cancel)

    def frauds(self) -> tuple[bytes, ...]:
        """Proofs against providers whose results a sample refuted, for `p2pcompute audit`: anyone can execute them."""
        return self._client._call(self._job.frauds)

    def evidence(self) -> tuple[bytes, ...]:
        """All signed documents of the job, for `p2pcompute audit`."""
        return self._client._call(self._job.evidence)


class Client:
    """Submit kernels from any Python program.

        with Client(bootstrap=["/ip4/…/tcp/9471/p2p/12D3KooW…"]) as client:
            job = client.submit(kernel, n=n, a=2.0, x=In(x), y=InOut(y), grid=grid, block=256, replicas=3)
            print(job.result()["y"])

    `home` names a home to keep identity, receipts and debts in (and whose running node is used when there is one);
    without it they last as long as the client.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        bootstrap: Sequence[str] = (),
        network: str | None = None,
        passphrase: str | Callable[[], str] = "",
    ) -> None:
        self._token: trio.lowlevel.TrioToken | None = None
        self._client: AsyncClient | None = None
        self._nursery: trio.Nursery | None = None
        self._stop = trio.Event()
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        options = {"bootstrap": bootstrap, "network": network, "passphrase": passphrase}
        root = Path(home) if home is not None else None
        self._thread = threading.Thread(
            target=lambda: trio.run(self._main, root, options), name="p2pcompute-client", daemon=True
        )
        self._thread.start()
        self._ready.result()

    async def _main(self, home: Path | None, options: dict[str, Any]) -> None:
        try:
            async with open_client(home, **options) as client, trio.open_nursery() as nursery:
                self._token, self._client, self._nursery = trio.lowlevel.current_trio_token(), client, nursery
                self._ready.set_result(None)
                await self._stop.wait()
                nursery.cancel_scope.cancel()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        if self._token is None or not self._thread.is_alive():
            raise LocalError("the client is closed")
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def _spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        async def start() -> None:
            assert self._nursery is not None
            self._nursery.start_soon(task)

        self._call(start)

    def submit(self, kernel: Kernel, *positional: Value, **options: Any) -> Job:
        """As AsyncClient.submit; returns at once with a Job. Raises UsageError and CompileError."""

        async def submit() -> AsyncJob:
            assert self._client is not None
            return await self._client.submit(kernel, *positional, **options)

        return Job(self, self._call(submit))

    def map(self, kernel: Kernel, arguments: Iterable[dict[str, Value]], **options: Any) -> Iterator[Result]:
        """Submit one job per dictionary of named arguments, all at once; their results in order."""
        jobs = [self.submit(kernel, arguments=named, **options) for named in arguments]
        return (job.result() for job in jobs)

    @contextlib.contextmanager
    def session(self, **options: Any) -> Iterator[Session]:
        """As AsyncClient.session:

        with client.session(providers=3) as session:
            jobs = [session.submit(kernel, x=In(x), ...) for x in parts]
        """
        assert self._client is not None
        manager = self._client.session(**options)
        opened = self._call(manager.__aenter__)
        try:
            yield Session(self, opened)
        finally:
            self._call(manager.__aexit__, None, None, None)

    def status(self) -> dict[str, object]:
        """Facts about the client's node: peer id, connections, offers seen."""
        assert self._client is not None
        return self._call(self._client.node.status)

    def close(self) -> None:
        """Stop the node (unless it is another process's). Jobs that are not over fail with LocalError."""
        if self._token is not None and self._thread.is_alive():
            with contextlib.suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Session:
    """Made by `Client.session`."""

    def __init__(self, client: Client, session: AsyncSession) -> None:
        self._client, self._session = client, session

    def submit(self, kernel: Kernel, *positional: Value, **options: Any) -> Job:
        """As Client.submit, on the session's leases."""
        return self._client.submit(kernel, *positional, session=self._session, **options)

    def map(self, kernel: Kernel, arguments: Iterable[dict[str, Value]], **options: Any) -> Iterator[Result]:
        """As Client.map, on the session's leases."""
        return self._client.map(kernel, arguments, session=self._session, **options)


def as_completed(jobs: Iterable[Job], timeout: float | None = None) -> Iterator[Job]:
    """The jobs in the order in which they end. Raises TimeoutError when `timeout` seconds pass first."""
    by_future = {job._future: job for job in jobs}
    return (by_future[f] for f in concurrent.futures.as_completed(by_future, timeout))
