"""Processes for data parallelism, each with threads of its own.

They are started afresh: a process forked after OpenMP has started its threads can hang in the first
parallel region. The numbers of threads of matrix products and of OpenMP are read when the libraries
are loaded, so they are in the environment while a process starts.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess

# OpenMP's, and those of the libraries that NumPy may be built with.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
_starting = threading.Lock()


def process_pool(workers: int, *, threads: int = 1) -> ProcessPoolExecutor:
    """Start processes that compute pieces of a batch, for `accumulate_gradients`.

    Parameters
    ----------
    workers : int
        Processes, at least 1.
    threads : int, default 1
        Threads of each, for NumPy's matrix products and for attention, whatever the environment
        says.

    Returns
    -------
    concurrent.futures.ProcessPoolExecutor
        To be used in a ``with`` block. A worker that dies raises `BrokenProcessPool` in the call.

    Raises
    ------
    ValueError
        A number is less than 1.

    Notes
    -----
    Processes import the program's main module again, so a script starts its work under
    ``if __name__ == "__main__":``. Parameters go to the processes with every piece. Where that
    takes long, or for a function that is defined on the spot, threads do as well, by a
    `concurrent.futures.ThreadPoolExecutor`: NumPy and regard release the GIL. Then set
    OPENBLAS_NUM_THREADS=1 before NumPy is loaded.

    Examples
    --------
    ::

        if __name__ == "__main__":
            with process_pool(2) as executor:
                loss, gradients = accumulate_gradients(
                    loss_and_gradients, parameters, np.split(batch, 4), executor=executor
                )
    """
    for name, number in (("workers", workers), ("threads", threads)):
        if number < 1:
            raise ValueError(f"process_pool: {name} has to be at least 1, not {number}")
    return ProcessPoolExecutor(workers, mp_context=_Context(threads))


class _Process(SpawnProcess):
    """A process that starts with a number of threads in its environment."""

    threads = 1

    def start(self) -> None:
        with _environment({name: str(self.threads) for name in _THREADS}):
            super().start()


class _Context(SpawnContext):
    """Makes such processes."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def Process(self, *args: object, **kwargs: object) -> _Process:  # type: ignore[override]
        process = _Process(*args, **kwargs)  # type: ignore[arg-type]
        process.threads = self.threads
        return process


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for a moment."""
    with _starting:
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
