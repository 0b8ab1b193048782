"""The signature of `regard.attention`, as it is described, for `inspect` and ``help``."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar

from regard._call.options import OPTIONS

F = TypeVar("F", bound=Callable[..., Any])


def spelled_out(function: F) -> F:
    """Show the options of a function that takes ``**options`` one by one.

    Editors and type checkers read its overloads instead.
    """
    plain = signature(function)
    arrays = [p for p in plain.parameters.values() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    options = [
        Parameter(o.name, Parameter.KEYWORD_ONLY, default=o.default, annotation=o.annotation)
        for o in OPTIONS
    ]
    shown = Signature([*arrays, *options], return_annotation=plain.return_annotation)
    function.__signature__ = shown  # type: ignore[attr-defined]
    return function
