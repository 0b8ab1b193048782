"""Options of a call, by name, as the core takes them; those that a function does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from regard._call.options import CORE, CORE_NAMES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from regard._core import _Options as CoreOptions

# Unpacked beforehand: a call of a few microseconds goes through all of them.
_STEPS = tuple((option.name, option.default, option.convert) for option in CORE)


def core_options(query: ArrayLike, options: dict[str, Any]) -> CoreOptions:
    """Turn options of `regard.attention` into what the core takes.

    Parameters
    ----------
    query : array_like
        For its dtype and number of heads.
    options : dict
        What the caller has given; all of it is described.

    Returns
    -------
    dict
        Only what differs from a plain call; the core checks what depends on shapes.

    Raises
    ------
    TypeError, ValueError
        An option is not of a kind that can be meant.
    """
    core: dict[str, Any] = {}
    for name, default, convert in _STEPS:
        if name in options and (value := options[name]) is not default:
            convert(core, name, value, query)
    return cast("CoreOptions", core)


def known(function: str, options: dict[str, Any]) -> dict[str, Any]:
    """Refuse unknown options as Python does for a function that spells its options out."""
    if not CORE_NAMES.issuperset(options):
        unknown = next(name for name in options if name not in CORE_NAMES)
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown!r}")
    return options


def check_names(function: str, options: dict[str, Any]) -> None:
    """Refuse options that are not described, in the name of a public function.

    Raises
    ------
    TypeError
        There is no such option.
    """
    for name in options:
        if name not in CORE_NAMES:
            from difflib import get_close_matches  # only who errs needs it

            there = [option.name for option in CORE]
            close = get_close_matches(name, there, n=1)
            advice = f"Is {close[0]} meant?" if close else f"There are {', '.join(there)}."
            raise TypeError(f"{function}: there is no option {name}.\n  {advice}")


def refuse(options: dict[str, Any], names: Iterable[str], why: str) -> None:
    """Refuse options that a function does not have, whatever their value.

    Raises
    ------
    TypeError
        One of them is given.
    """
    for name in names:
        if name in options:
            raise TypeError(f"attention: {name} {why}")
