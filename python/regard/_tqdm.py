"""tqdm's progress bar where tqdm is installed, and no bar where it is not."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], label: str, note: Callable[[], str] | None = None) -> Iterable[T]:
    """Go through items behind a bar, on a terminal only: logs and pipes stay clean.

    Parameters
    ----------
    items : iterable
    label : str
        Words in front of the bar.
    note : callable, optional
        Called after each item; what it returns is written behind the bar.

    Returns
    -------
    iterable
        The items, unchanged and in order.

    Examples
    --------
    >>> list(progress(range(3), "counting"))
    [0, 1, 2]
    """
    try:
        tqdm = importlib.import_module("tqdm")
    except ImportError:
        return items
    # disable=None is tqdm's word for "unless standard error is a terminal".
    bar = tqdm.tqdm(items, desc=label, leave=False, disable=None)
    return bar if note is None else _noted(bar, note)


def _noted(bar: Any, note: Callable[[], str]) -> Iterator[Any]:
    for item in bar:
        yield item
        bar.set_postfix_str(note(), refresh=False)
