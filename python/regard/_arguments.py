"""What the command lines take: names, numbers, files that are written when the work is done.

Each is a `type` for :mod:`argparse`, which then refuses nonsense before anything is computed.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from regard._isa import available_isas
from regard._matplotlib import FORMATS, require_matplotlib


def isa_name(text: str) -> str:
    """Take the name of an instruction set that is there.

    Examples
    --------
    >>> isa_name("generic")
    'generic'
    """
    if text not in available_isas():
        names = ", ".join(available_isas())
        raise ArgumentTypeError(f"{text!r} is not one of this build and CPU, which have {names}")
    return text


def whole(least: int) -> Callable[[str], int]:
    """Take whole numbers from `least` on.

    Examples
    --------
    >>> whole(1)("12")
    12
    """

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return number

    return parse


def seconds(text: str) -> float:
    """Take a time above zero.

    Examples
    --------
    >>> seconds("0.5")
    0.5
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def output_file(text: str) -> str:
    """Take the name of a file that can be written.

    Examples
    --------
    >>> output_file("results.json")
    'results.json'
    """
    path = Path(text)
    if not text or path.is_dir():
        raise ArgumentTypeError(f"{text!r} is not the name of a file")
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"there is no directory {str(path.parent)!r}: make it first")
    existed = path.exists()
    try:
        with path.open("ab"):  # permissions, read-only disks: nothing knows but the attempt
            pass
    except OSError as error:
        raise ArgumentTypeError(f"{text!r} cannot be written: {error.strerror}") from error
    if not existed:
        path.unlink()
    return text


def picture_file(text: str) -> str:
    """Take the name of a picture in one of matplotlib's formats that we draw in."""
    if Path(text).suffix.lower() not in FORMATS:
        raise ArgumentTypeError(f"{text!r} does not end with one of {', '.join(FORMATS)}")
    try:
        require_matplotlib()
    except ImportError as error:
        raise ArgumentTypeError(str(error)) from error
    return output_file(text)
