"""Options of a call, by name, as the core takes them; those that a function does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from regard._call.options import CORE, GIVEN, OPTIONS
from regard._call.padding import apply_key_mask, warn_of_padding

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from regard._core import _Options as CoreOptions

# Unpacked beforehand: a call of a few microseconds asks for those that it gives.
_STEPS = {option.name: (option.default, option.convert) for option in CORE}
_PLACE = {option.name: place for place, option in enumerate(OPTIONS)}


def core_options(query: ArrayLike, key: ArrayLike | None, options: dict[str, Any]) -> CoreOptions:
    """Turn options of `regard.attention` into what the core takes.

    Parameters
    ----------
    query : array_like
        For its dtype and number of heads.
    key : array_like, optional
        For the number of keys; None if rows are packed.
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
    # In the order of the signature, whatever the caller's: some are converted by what others are.
    for name in options if len(options) == 1 else sorted(options, key=_PLACE.__getitem__):
        if name in _STEPS:
            value, (default, convert) = options[name], _STEPS[name]
            if value is not default:
                convert(core, name, value, query)
    if "key_lengths" in core and core.get("causal") == 1:
        warn_of_padding(core, query, key)
    if options.get("key_mask") is not None:
        apply_key_mask(core, options["key_mask"], query, key)
    return cast("CoreOptions", core)


def check_names(function: str, options: dict[str, Any]) -> None:
    """Refuse options that are not described, in the name of a public function.

    Raises
    ------
    TypeError
        There is no such option; it says what another library's is called here.
    """
    if GIVEN.issuperset(options):
        return
    from difflib import get_close_matches  # only who errs needs these

    from regard._call.foreign import FOREIGN

    unknown = next(name for name in options if name not in GIVEN)
    known = [option.name for option in OPTIONS if option.name in GIVEN]
    if unknown in FOREIGN:
        advice = f"Here it is {FOREIGN[unknown]}."
    elif close := get_close_matches(unknown, known, n=1):
        advice = f"Is {close[0]} meant?"
    else:
        advice = f"There are {', '.join(known)}."
    raise TypeError(f"{function}: there is no option {unknown}.\n  {advice}")


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
