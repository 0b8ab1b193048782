"""Errors in the name of the function that was called: all of them are written as attention's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_WRITTEN = "attention: "


def in_the_name_of(function: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a public function's errors begin with its own name.

    Parameters
    ----------
    function : str
        What users call it.
    """

    def decorate(called: Callable[P, R]) -> Callable[P, R]:
        @wraps(called)
        def named(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return called(*args, **kwargs)
            except (TypeError, ValueError, NotImplementedError) as error:
                rename(error, function, kwargs.get("layout"))
                raise

        return named

    return decorate


def rename(error: Exception, function: str, layout: Any = None) -> None:
    """Say an error of `attention` as another function's, and how its shapes are to be read."""
    text = str(error)
    if not text.startswith(_WRITTEN):
        return
    if layout is not None and "shape" in text and "layout" not in text:
        text += f"\n  Shapes are shown by head; in memory they lie as layout={layout!r} says."
    error.args = (f"{function}: {text.removeprefix(_WRITTEN)}",)
