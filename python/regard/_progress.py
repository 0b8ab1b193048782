"""One progress bar for everything that takes more than a moment.

tqdm draws it where that is installed (``pip install "regard[progress]"``), else rich, else a
plain line of our own. Nothing is drawn unless standard error is a terminal, so logs and pipes
stay clean.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_BAR_WIDTH = 30


def progress(iterable: Iterable[T], total: int | None = None, label: str = "") -> Iterator[T]:
    """Yield the items of an iterable, drawing a progress bar on a terminal.

    Parameters
    ----------
    iterable : iterable
        What to go through.
    total : int, optional
        How many items there are; taken from ``len(iterable)`` where it has one.
    label : str, optional
        Words in front of the bar.

    Yields
    ------
    item
        The items of `iterable`, unchanged and in order.

    Examples
    --------
    >>> list(progress(range(3), label="counting"))
    [0, 1, 2]
    """
    if total is None:
        try:
            total = len(iterable)  # type: ignore[arg-type]
        except TypeError:
            total = None
    if not sys.stderr.isatty():
        return iter(iterable)
    for backend in (_with_tqdm, _with_rich):
        try:
            return backend(iterable, total, label)
        except ImportError:
            continue
    return _plain(iterable, total, label)


def _with_tqdm(iterable: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    tqdm = importlib.import_module("tqdm")
    return iter(tqdm.tqdm(iterable, total=total, desc=label or None, leave=False))


def _with_rich(iterable: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    rich_progress = importlib.import_module("rich.progress")
    console = importlib.import_module("rich.console").Console(stderr=True)
    return iter(
        rich_progress.track(
            iterable, total=total, description=label, console=console, transient=True
        )
    )


def _plain(iterable: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    start = time.monotonic()
    width = 0
    done = 0
    try:
        for item in iterable:
            width = _draw(label, done, total, time.monotonic() - start, width)
            yield item
            done += 1
    finally:
        sys.stderr.write("\r" + " " * width + "\r")
        sys.stderr.flush()


def _draw(label: str, done: int, total: int | None, seconds: float, last_width: int) -> int:
    if total:
        filled = _BAR_WIDTH * done // total
        bar = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {done}/{total}"
    else:
        bar = f"{done} done"
    line = f"{label} {bar}  {seconds:.0f} s".strip()
    sys.stderr.write("\r" + line.ljust(last_width))
    sys.stderr.flush()
    return len(line)
