"""``attention_vjp`` of dask arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da

from regard._call.messages import in_the_name_of
from regard._call.options import names
from regard.dask._attention import SPLIT_EVERY, check_split
from regard.dask._problem import Problem
from regard.dask._pull_back import pull_back
from regard.dask._states import attend, lses, outputs
from regard.gradients import INPUTS, NAMES, Gradients

_REFUSED = names(lambda option: option.gradient == "refused")


class Vjp:
    """What `attention_vjp` returns: pulls derivatives by the output back to the inputs.

    Holds graphs, and no numbers: gradients that are computed on their own compute the forward pass
    again, unless output and inputs were persisted.

    Attributes
    ----------
    lse : dask.array.Array, shape (..., Hq, Sq)
        The logarithm of the softmax denominators.
    """

    def __init__(self, problem: Problem, states: da.Array, split_every: int) -> None:
        self._problem, self._states, self._split_every = problem, states, split_every
        self.lse = lses(problem, states)

    @in_the_name_of("vjp")
    def __call__(
        self,
        dout: da.Array,
        dlse: da.Array | None = None,
        *,
        wrt: Sequence[str] | str | None = None,
    ) -> Gradients:
        """Make the graph of gradients.

        Parameters
        ----------
        dout : dask.array.Array
            Derivative of the loss by the output, of its shape, in any chunks.
        dlse : dask.array.Array, optional
            Derivative of the loss by the LSE, of its shape; 0 if not given.
        wrt : sequence of str, optional
            Names of the inputs whose gradients are wanted: "query", "key", "value" (the default is
            these three), and, if the call had them, "bias", "sinks", "alibi_slopes",
            "position_bias", "query_scale".

        Returns
        -------
        Gradients
            Of dask arrays, each in the shape and dtype of its input. To be computed together, by
            ``dask.compute(*gradients)``: then each pair of chunks is computed once.

        Raises
        ------
        ValueError, TypeError
            An argument does not fit.
        """
        problem = self._problem
        wanted = _wanted(wrt, problem)
        upstream = {"dout": _upstream(dout, "dout", problem, problem.out_chunks)}
        if dlse is not None:
            upstream["dlse"] = _upstream(dlse, "dlse", problem, problem.lse_chunks)
        found = pull_back(problem, self._states, self.lse, upstream, wanted, self._split_every)
        if problem.layout is not None:
            for name in set(wanted) & set(INPUTS):
                found[name] = problem.layout.as_given(found[name])
        return Gradients(**found)


@in_the_name_of("attention_vjp")
def attention_vjp(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    *,
    split_every: int = SPLIT_EVERY,
    **options: Any,
) -> tuple[da.Array, Vjp]:
    """Attention of dask arrays, and a function that gives its gradients.

    Parameters
    ----------
    query : dask.array.Array, shape (..., Hq, Sq, D)
    key : dask.array.Array, shape (..., Hkv, Sk, D)
    value : dask.array.Array, shape (..., Hkv, Sk, Dv)
        Chunks as in `attention`.
    split_every : int, default 8
        How many states or gradients are put together at a time.
    **options
        As in `attention`, but key_scales and value_scales.

    Returns
    -------
    out : dask.array.Array, shape (..., Hq, Sq, Dv)
        What `attention` returns.
    vjp : callable
        ``vjp(dout, dlse=None, *, wrt=None)`` returns `Gradients` of dask arrays: see
        `regard.dask.Vjp`.

    Raises
    ------
    ValueError, TypeError
        As `attention` does.

    See Also
    --------
    regard.attention_vjp : The same on one machine.

    Notes
    -----
    Of the forward pass, only output and LSE are needed. A pair of chunks gives its part of all
    gradients in one call of `regard.attention_backward`, from the output and the LSE over all keys;
    that of query is summed over the chunks of keys, those of key and value over the chunks of
    queries. Sums have a fixed order and are in float64.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import numpy as np
    >>> import regard
    >>> import regard.dask
    >>> x, dout = np.random.default_rng(0).standard_normal((2, 8, 100, 16))
    >>> chunks = (8, 50, -1)
    >>> query, key, value = (da.from_array(x, chunks) for _ in range(3))
    >>> out, vjp = regard.dask.attention_vjp(query, key, value, causal=True)
    >>> gradients = dask.compute(*vjp(da.from_array(dout, chunks)))
    >>> expected = regard.attention_vjp(x, x, x, causal=True)[1](dout)
    >>> all(np.allclose(one, other) for one, other in zip(gradients, expected))
    True
    """
    for name in _REFUSED:
        if options.get(name) is not None:
            raise ValueError(
                f"attention: there are no derivatives with {name}.\n  Give key and value as arrays "
                "of floats."
            )
    problem = Problem(query, key, value, options)
    states = attend(problem, check_split(split_every))
    out = outputs(problem, states, problem.inputs["query"].dtype)
    if problem.layout is not None:
        out = problem.layout.as_given(out)
    return out, Vjp(problem, states, split_every)


def _wanted(wrt: Sequence[str] | str | None, problem: Problem) -> tuple[str, ...]:
    if wrt is None:
        return INPUTS
    wanted = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in wanted:
        if name not in NAMES:
            raise ValueError(
                f"attention: wrt has {name!r}.\n  Choose among {', '.join(map(repr, NAMES))}."
            )
        if name not in problem.arrays and problem.options.given.get(name) is None:
            raise ValueError(
                f"attention: wrt has {name!r}, which the call was not given.\n  Ask for gradients "
                "of what is given."
            )
    return tuple(dict.fromkeys(wanted))


def _upstream(x: Any, name: str, problem: Problem, chunks: tuple[tuple[int, ...], ...]) -> da.Array:
    if not isinstance(x, da.Array):
        raise TypeError(
            f"attention: {name} is a {type(x).__name__}.\n  Give a dask array of the shape of the "
            f"{'output' if name == 'dout' else 'LSE'}."
        )
    if name == "dout" and problem.layout is not None:
        x = problem.layout.by_head(x, name)
    wanted = tuple(map(sum, chunks))
    if x.shape != wanted:
        what = "output" if name == "dout" else "LSE"
        raise ValueError(
            f"attention: {name} has shape {x.shape}; the {what} has {wanted}.\n  Give the "
            f"derivative by each number of the {what}."
        )
    return x.rechunk(chunks)
