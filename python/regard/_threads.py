"""How many threads a call uses when it is not told."""

from __future__ import annotations

import numbers
from types import TracebackType

import numpy as np

from regard import _core
from regard._arrays import int64


def get_num_threads() -> int:
    """Threads that a call uses without ``num_threads=``.

    Returns
    -------
    int
        What `set_num_threads` chose; otherwise OpenMP's own number, which is that of the CPUs this
        process may run on, or what ``OMP_NUM_THREADS`` or threadpoolctl say, and without
        ``OMP_NUM_THREADS`` no more than the CPU quota of the Linux control groups (rounded up).
        ``OMP_THREAD_LIMIT`` bounds all of them. 1 in the child of a fork.

    See Also
    --------
    show_config : What was found, and what decided.

    Examples
    --------
    >>> import regard
    >>> regard.get_num_threads() >= 1
    True
    """
    return _core.default_threads()


class set_num_threads:
    """Choose how many threads later calls use, in every thread of Python.

    Takes effect at once; as a context manager it puts the previous choice back at the end. A call's
    own ``num_threads=`` goes before. The number changes the time a call takes, and no bit of its
    result.

    Parameters
    ----------
    num_threads : int or None
        At least 1; None for what is found (`get_num_threads`).

    Raises
    ------
    ValueError
        The number is less than 1.
    TypeError
        It is not a whole number.

    Examples
    --------
    >>> import regard
    >>> with regard.set_num_threads(1):
    ...     print(regard.get_num_threads())
    1
    """

    def __init__(self, num_threads: int | None) -> None:
        whole = isinstance(num_threads, (numbers.Integral, np.integer))
        if isinstance(num_threads, bool) or not (num_threads is None or whole):
            raise TypeError(
                f"set_num_threads: num_threads is {num_threads!r}.\n  Give a whole number of at "
                "least 1, or None for what is found."
            )
        self._previous = _core.thread_choice()["set"]
        _core.set_num_threads(None if num_threads is None else int64(num_threads))

    def __enter__(self) -> set_num_threads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core.set_num_threads(self._previous)
