"""tqdm's progress bar where tqdm is installed, and no bar where it is not."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], label: str) -> Iterable[T]:
    """Go through items behind a bar, on a terminal only: logs and pipes stay clean.

    Parameters
    ----------
    items : iterable
    label : str
        Words in front of the bar.

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
    bar: Iterable[T] = tqdm.tqdm(items, desc=label, leave=False, disable=None)
    return bar
