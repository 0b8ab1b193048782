"""``attention`` of dask arrays."""

from __future__ import annotations

from typing import Any, Literal, overload

import dask.array as da

from regard._call.messages import in_the_name_of
from regard.dask._problem import Problem
from regard.dask._states import attend, lses, outputs

#: States merged at a time: a tree of two levels for 64 chunks of keys, of four for 4,096.
SPLIT_EVERY = 8


@overload
def attention(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    *,
    split_every: int = SPLIT_EVERY,
    return_lse: Literal[False] = False,
    **options: Any,
) -> da.Array: ...


@overload
def attention(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    *,
    split_every: int = SPLIT_EVERY,
    return_lse: Literal[True],
    **options: Any,
) -> tuple[da.Array, da.Array]: ...


@in_the_name_of("attention")
def attention(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    *,
    split_every: int = SPLIT_EVERY,
    return_lse: bool = False,
    **options: Any,
) -> da.Array | tuple[da.Array, da.Array]:
    """Attention of dask arrays, cut along any of batch, heads, queries and keys.

    Each chunk of queries meets each chunk of keys in one call of the core, on whichever worker Dask
    chooses; the states are merged by a tree [1]_. Nothing is computed until the result is.

    Parameters
    ----------
    query : dask.array.Array, shape (..., Hq, Sq, D)
        float32, float64, float16 or bfloat16. At least two axes.
    key : dask.array.Array, shape (..., Hkv, Sk, D)
        In the chunks of query along the batch, and of value along the keys. Chunks of heads go
        together: those of query have whole groups of heads that share a key head, or lie within
        one. head_dim is not cut.
    value : dask.array.Array, shape (..., Hkv, Sk, Dv)
    split_every : int, default 8
        How many states are merged at a time, at least 2.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators.
    **options
        As in `regard.attention`, but block_table and out. mask, bias, key_mask, query_scale,
        key_scales and value_scales may be dask arrays, in any chunks; the others may not. A mask
        is an array of bool.

    Returns
    -------
    out : dask.array.Array, shape (..., Hq, Sq, Dv)
        In the dtype and the chunks of query.
    lse : dask.array.Array, shape (..., Hq, Sq)
        Only with return_lse.

    Raises
    ------
    ValueError
        Shapes, chunks or an option do not fit.
    TypeError
        An argument is of a type or dtype that is not supported. All errors come from this call,
        none from a worker.

    See Also
    --------
    attention_vjp : With gradients.
    DistributedKVCache : One long sequence that grows, and few queries.

    Notes
    -----
    Pairs of chunks in which no query sees a key, by causal, window, lengths or a NumPy mask, are
    not in the graph. Positions, dropout and masks are those of the whole call.

    The result is bitwise the same for any number of workers with CPUs of one instruction set, and
    any order in which they finish. It differs from that of `regard.attention` by how states
    are rounded. A state's LSE is in float32: by ``2 + abs(lse) / 2`` units (2**-23) of the largest
    number in the row's states at most, and by no more than 2 of the row's largest value in
    practice. 16-bit queries are widened, and only the result is rounded.

    References
    ----------
    .. [1] Shyam, V. et al., "Tree Attention: Topology-aware Decoding for Long-Context Attention on
       GPU clusters", 2024.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import regard
    >>> import regard.dask
    >>> x = np.random.default_rng(0).standard_normal((8, 1000, 16))
    >>> query, key = da.from_array(x, (4, 250, -1)), da.from_array(x, (4, 500, -1))
    >>> out = regard.dask.attention(query, key, key, causal=True)
    >>> out.chunks
    ((4, 4), (250, 250, 250, 250), (16,))
    >>> bool(np.allclose(out.compute(), regard.attention(x, x, x, causal=True)))
    True
    """
    problem = Problem(query, key, value, options)
    states = attend(problem, check_split(split_every))
    out = outputs(problem, states, problem.inputs["query"].dtype)
    if problem.layout is not None:
        out = problem.layout.as_given(out)
    return (out, lses(problem, states)) if return_lse else out


def check_split(split_every: Any) -> int:
    """Refuse what no tree has."""
    if isinstance(split_every, bool) or not isinstance(split_every, int) or split_every < 2:
        raise ValueError(
            f"attention: split_every is {split_every!r}.\n  Give a whole number of at least 2."
        )
    return split_every
