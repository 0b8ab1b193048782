"""From derivatives by the output and the LSE to those by the inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard.gradients._call import DifferentiableCall
from regard.gradients._result import INPUTS, NAMES, Buffers, Gradients
from regard.gradients._targets import check_apart, target_for

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]


def pull_back(
    call: DifferentiableCall,
    out: Array,
    lse: Array,
    dout: ArrayLike,
    dlse: ArrayLike | None,
    wrt: Sequence[str] | str | None,
    buffers: Buffers,
    accumulate: bool,
) -> Gradients:
    """Check what is wanted, and have the core compute it."""
    names = _wanted(wrt, call)
    given = _buffers(buffers, names)
    if accumulate and not given:
        raise ValueError(
            "attention: accumulate adds to arrays, and none are given.\n  Give them by the names "
            "of the inputs, e.g. {'query': array}."
        )
    by_out = call.upstream(dout, "dout", out)
    by_lse = None if dlse is None else call.upstream(dlse, "dlse", lse)
    # A function of Python's may raise when half is written.
    written = {n: x.copy() for n, x in given.items()} if _calls_python(call) else given
    targets = {name: target_for(call, name, written.get(name), accumulate) for name in names}
    check_apart(call, given, (("dout", by_out), ("dlse", by_lse), ("out", out), ("lse", lse)))
    arrays = {name: target.array for name, target in targets.items()}
    core_out = call.by_head(out)
    # Arrays that are made here hold zeros.
    adds = accumulate or not given
    _core.backward(
        call.query, call.key, call.value, call.options or None, core_out, lse, by_out, by_lse,
        arrays, adds,
    )  # fmt: skip
    finished = {name: target.finish() for name, target in targets.items()}
    if written is not given:
        for name, buffer in given.items():
            buffer[...] = finished[name]
    return Gradients(**{**finished, **given})


def _calls_python(call: DifferentiableCall) -> bool:
    functions = (call.options.get("score_mod"), call.options.get("score_mod_gradient"))
    return any(function is not None and function[0] is None for function in functions)


def _wanted(wrt: Sequence[str] | str | None, call: DifferentiableCall) -> tuple[str, ...]:
    if wrt is None:
        return INPUTS
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"attention: wrt has {name!r}.\n  Choose among {', '.join(map(repr, NAMES))}."
            )
        if name not in INPUTS and name not in call.options:
            raise ValueError(
                f"attention: wrt has {name!r}, which the call was not given.\n  Ask for gradients "
                "of what is given."
            )
    return tuple(dict.fromkeys(names))


def _buffers(buffers: Buffers, names: tuple[str, ...]) -> dict[str, Array]:
    if buffers is None:
        return {}
    if isinstance(buffers, Gradients):
        given = {name: buffers[name] for name in buffers.names}
    elif isinstance(buffers, Mapping):
        given = dict(buffers)
    else:
        raise TypeError(
            f"attention: out is a {type(buffers).__name__}.\n  Give a dict of arrays by the names "
            "of the inputs, or what an earlier call returned."
        )
    given = {name: array for name, array in given.items() if array is not None}
    for name, array in given.items():
        if name not in names:
            raise ValueError(
                f"attention: out has an array for {name!r}, whose gradient is not asked for.\n  "
                f"Asked for are {', '.join(map(repr, names))}: see wrt."
            )
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"attention: out[{name!r}] is a {type(array).__name__}.\n  Give a NumPy array."
            )
    return given
