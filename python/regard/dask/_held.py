"""Shards as the client knows them: where they are, calls of them, and what becomes of lost ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from distributed import Client, Future

from regard.dask._shard import Shard, Sizes

# Seconds between looks at whether a worker that has not answered is still there.
_LOOK = 0.5
# Seconds that a cluster without workers has to start one again.
_RESTART = 30.0


class LostTokens(RuntimeError):
    """Tokens of a `DistributedKVCache` were on a worker that is gone.

    Attributes
    ----------
    start, stop : int
        The tokens from start to before stop.
    """

    def __init__(self, message: str, start: int, stop: int) -> None:
        super().__init__(message)
        self.start, self.stop = start, stop


class Gone(Exception):
    """The worker of a shard does not answer any more."""


class HeldShard:
    """A shard, and the calls that the client makes of it.

    Parameters
    ----------
    client : Client
    sizes : Sizes
    path : str, optional
    key, value : Future or ndarray, optional
        First tokens; the shard is made where they are.
    """

    def __init__(
        self,
        client: Client,
        sizes: Sizes,
        path: str | None,
        key: Any = None,
        value: Any = None,
    ) -> None:
        self._client, self._sizes, self._path = client, sizes, path
        self.count = 0
        self._future: Future = client.submit(
            Shard, sizes, path, key, value, actor=True, pure=False, key=_name()
        )
        self._actor: Any = None
        self.address = ""

    def wait(self) -> None:
        """Wait until the shard is there."""
        self._actor = self._future.result()
        self.address = self.finish(self.begin("address"))
        self.count = self.finish(self.begin("length"))

    def begin(self, method: str, *arguments: Any) -> Any:
        """Start a call; `finish` gives its result."""
        try:
            return getattr(self._actor, method)(*arguments)
        except RuntimeError as error:  # what Dask says of the actor of a lost worker
            raise Gone from error

    def finish(self, call: Any) -> Any:
        """Wait for a call.

        Raises
        ------
        Gone
            The worker was lost meanwhile.
        """
        while True:
            try:
                return call.result(timeout=_LOOK)
            except TimeoutError:
                if self._future.status not in ("finished", "pending"):
                    raise Gone from None
            except OSError as error:
                raise Gone from error

    def call(self, start: int, method: str, *arguments: Any) -> Any:
        """Call, and again after the shard was opened from its file, if its worker is lost."""
        try:
            return self.finish(self.begin(method, *arguments))
        except Gone:
            self.reopen(start)
            return self.finish(self.begin(method, *arguments))

    def reopen(self, start: int) -> None:
        """Open the file on another worker.

        Parameters
        ----------
        start : int
            Number of the first token, for messages.

        Raises
        ------
        LostTokens
            There is no file, or none that a worker can read.
        """
        stop = start + self.count
        lost = (
            f"DistributedKVCache: tokens {start} to {stop - 1} were on worker {self.address}, "
            "which is gone"
        )
        advice = f"truncate({start}), and append them and those after them again"
        if self._path is None:
            raise LostTokens(
                f"{lost}, and in its memory alone.\n  Call {advice}. A cache with directory= keeps "
                "them in files.",
                start, stop,
            )  # fmt: skip
        self._client.wait_for_workers(1, timeout=_RESTART)
        workers = list(self._client.scheduler_info(n_workers=-1)["workers"])
        host = urlsplit(self.address).hostname
        near = [address for address in workers if urlsplit(address).hostname == host]
        self._future = self._client.submit(
            Shard, self._sizes, self._path, expected=self.count, actor=True, pure=False,
            key=_name(), workers=near or workers,
        )  # fmt: skip
        count = self.count
        try:
            self.wait()
        except (OSError, ValueError) as error:
            self.count = count
            raise LostTokens(
                f"{lost}, and its file cannot be opened: {error}.\n  Call {advice}.", start, stop
            ) from error

    def release(self) -> None:
        """Give up the shard and its file."""
        try:
            if self._actor is not None:
                self.finish(self.begin("remove"))
        except Gone:
            pass
        self._future.release()


def _name() -> str:
    """Return a key that a dashboard shows as regard-shard."""
    return f"regard-shard-{uuid4().hex}"
