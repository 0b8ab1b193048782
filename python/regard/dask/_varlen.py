"""``varlen_attention`` of packed dask arrays: pieces shared out by what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._call.core_options import check_names, refuse
from regard._call.messages import in_the_name_of
from regard._call.packed import packed_call
from regard.dask._balance import balanced_runs
from regard.dask._graph import Tasks, array
from regard.dask._parts import State, Take
from regard.dask._problem import stand_in

Array: TypeAlias = NDArray[Any]

# Scores a head that a task has at least: those of a pair of chunks of 4,096, which takes long
# enough for what Dask spends on a task, about a millisecond, not to matter.
_WORTH = 4096**2
_LARGE = ("query", "key", "value", "key_scales", "value_scales")


@overload
def varlen_attention(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    *,
    tasks: int | None = None,
    return_lse: Literal[False] = False,
    **options: Any,
) -> da.Array: ...


@overload
def varlen_attention(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    *,
    tasks: int | None = None,
    return_lse: Literal[True],
    **options: Any,
) -> tuple[da.Array, da.Array]: ...


@in_the_name_of("varlen_attention")
def varlen_attention(
    query: da.Array,
    key: da.Array,
    value: da.Array,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    *,
    tasks: int | None = None,
    return_lse: bool = False,
    **options: Any,
) -> da.Array | tuple[da.Array, da.Array]:
    """Attention within each piece of a packed batch, in tasks of about the same cost.

    Pieces, such as documents, are shared out in runs by queries times keys, and not by their
    number: a piece of 10,000 tokens costs as much as a hundred of 1,000.

    Parameters
    ----------
    query : dask.array.Array, shape (total_q, Hq, D)
        In any chunks; what a task needs is put together for it.
    key : dask.array.Array, shape (total_k, Hkv, D)
    value : dask.array.Array, shape (total_k, Hkv, Dv)
    cu_seqlens_q, cu_seqlens_k : array_like of int, shape (pieces + 1,)
        As in `regard.varlen_attention`.
    tasks : int, optional
        How many tasks at most; by default one for each 4,096 x 4,096 scores of a head. Some for
        each worker let Dask even out the rest. The numbers do not depend on it.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators.
    **options
        As in `regard.varlen_attention`, but block_table and out. key_scales and value_scales may
        be dask arrays.

    Returns
    -------
    out : dask.array.Array, shape (total_q, Hq, Dv)
        A chunk for each task.
    lse : dask.array.Array, shape (Hq, total_q)
        Only with return_lse.

    Raises
    ------
    ValueError, TypeError
        As `regard.varlen_attention` does, before anything is scheduled; or an array is not of
        Dask.

    Notes
    -----
    A piece is never cut. For one that is too long for a worker there is `attention`. Bitwise what
    `regard.varlen_attention` gives.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import regard
    >>> import regard.dask
    >>> x = np.random.default_rng(0).standard_normal((900, 4, 16))
    >>> starts = [0, 500, 600, 700, 800, 900]
    >>> packed = da.from_array(x, (300, -1, -1))
    >>> out = regard.dask.varlen_attention(packed, packed, packed, starts, starts, tasks=2)
    >>> out.chunks[0]
    (500, 400)
    >>> bool((out.compute() == regard.varlen_attention(x, x, x, starts, starts)).all())
    True
    """
    check_names("attention", options)
    refuse(options, ("block_table",), "has no meaning here.\n  Give keys and values packed.")
    given = {name: x for name, x in options.items() if x is not None}
    arrays = {"query": query, "key": key, "value": value}
    arrays |= {name: given.pop(name) for name in _LARGE if name in given}
    for name, x in arrays.items():
        if not isinstance(x, da.Array):
            if name in ("query", "key", "value"):
                raise TypeError(
                    f"attention: {name} is a {type(x).__name__}.\n  Give a dask array, e.g. "
                    f"dask.array.from_array({name}, chunks=...)."
                )
            arrays[name] = da.from_array(np.asarray(x))
    starts = np.asarray(cu_seqlens_q), np.asarray(cu_seqlens_k)
    like = {name: stand_in(x.shape, x.dtype) for name, x in arrays.items()}
    _check_large(given)
    q, k, v = (like.pop(name) for name in ("query", "key", "value"))
    q, k, v, core = packed_call(q, k, v, *starts, {**given, **like})
    _core.explain(q, k, v, core, "forward", 8)
    queries, keys = (np.diff(start) for start in starts)
    costs = [int(a) * int(b) for a, b in zip(queries, keys, strict=True)]
    runs = balanced_runs(costs, ((queries == 0) | (keys == 0)).tolist(), _number(tasks, costs))
    return _graph(arrays, given, starts, runs, return_lse)


def _check_large(given: dict[str, Any]) -> None:
    for name, x in given.items():
        if isinstance(x, da.Array):
            raise TypeError(
                f"attention: {name} is a dask array, which pieces have no part of.\n  Give "
                f"{name}.compute()."
            )


def _number(tasks: Any, costs: list[int]) -> int:
    if tasks is None:
        return max(1, -(-sum(costs) // _WORTH))
    if isinstance(tasks, bool) or not isinstance(tasks, (int, np.integer)) or tasks < 1:
        raise ValueError(
            f"attention: tasks is {tasks!r}.\n  Give a whole number of at least 1, some for each "
            "worker."
        )
    return int(tasks)


def _graph(
    arrays: dict[str, da.Array],
    given: dict[str, Any],
    starts: tuple[Array, Array],
    runs: list[tuple[int, int]],
    return_lse: bool,
) -> Any:
    """Make a task for each run of pieces, and the arrays of what they compute."""
    cuts = [start[[0, *(stop for _, stop in runs)]] if runs else start[:1] for start in starts]
    sizes = [tuple(np.diff(cut).tolist()) or (0,) for cut in cuts]
    rows = {
        name: x.rechunk((sizes[name != "query"], *((n,) for n in x.shape[1:])))
        for name, x in arrays.items()
    }
    token = tokenize([x.name for x in rows.values()], given, starts, runs)
    attending = f"regard-attend-{token}"
    pairs: Tasks = {}
    for number, (first, stop) in enumerate(runs or [(0, 0)]):
        pieces = slice(first, stop)
        its = [start[first : stop + 1] - start[first] for start in starts]
        columns = slice(int(starts[0][first]), int(starts[0][stop]))
        options = _options(given, pieces, columns, its, len(starts[0]) - 1)
        task = AttendPieces(tuple(rows), its[0], its[1], options, np.arange(first, stop))
        pairs[(attending, number)] = (
            task,
            *((x.name, number, *(0,) * (x.ndim - 1)) for x in rows.values()),
        )
    dtype = arrays["query"].dtype
    states = array(pairs, attending, (sizes[0],), dtype, list(rows.values()))
    heads, dim = arrays["query"].shape[1], arrays["value"].shape[2]
    name = f"regard-out-{token}"
    taken: Tasks = {(name, n, 0, 0): (Take(0), (attending, n)) for n in range(len(pairs))}
    out = array(taken, name, (sizes[0], (heads,), (dim,)), dtype, [states])
    if not return_lse:
        return out
    computed = np.float64 if dtype == np.float64 else np.float32
    name = f"regard-lse-{token}"
    taken = {(name, 0, n): (Take(1), (attending, n)) for n in range(len(pairs))}
    return out, array(taken, name, ((heads,), sizes[0]), computed, [states])


def _options(
    given: dict[str, Any], pieces: slice, columns: slice, starts: list[Array], count: int
) -> dict[str, Any]:
    """Return what a run of pieces has of options: its elements of the batch, its longest rows."""
    longest = [int(np.diff(start).max(initial=0)) for start in starts]
    kept = dict(given)

    def cut(name: str, trailing: tuple[slice, ...]) -> None:
        if kept.get(name) is None:
            return
        x = np.asarray(kept[name])
        its = [slice(None) if n == 1 else s for n, s in zip(x.shape[::-1], trailing[::-1])]  # noqa: B905
        if x.ndim > len(trailing) and x.shape[-len(trailing) - 1] == count != 1:
            its += [pieces]
        where: tuple[Any, ...] = (..., *its[::-1])
        kept[name] = x[where]

    for name in ("mask", "bias"):
        if hasattr(kept.get(name), "to_dense"):
            kept[name] = kept[name].to_dense()
        cut(name, (slice(None), slice(longest[0]), slice(longest[1])))
    cut("key_mask", (slice(longest[1]),))
    cut("query_scale", (columns,))
    cut("alibi_slopes", (slice(None),))
    for name in ("key_lengths", "query_lengths", "query_offset"):
        if kept.get(name) is not None:
            kept[name] = np.broadcast_to(kept[name], (count,))[pieces]
    return kept


@dataclass(frozen=True)
class AttendPieces:
    """Attention within each piece of a run; as `regard.dask._parts.Attend`."""

    names: tuple[str, ...]
    starts_q: Array
    starts_k: Array
    options: dict[str, Any]
    elements: Array  # numbers of the pieces in the whole batch, which dropout draws by

    def __call__(self, *arrays: Array) -> State:
        """Return outputs (total, heads, dim) and LSEs (heads, total)."""
        by_name = dict(zip(self.names, arrays, strict=True))
        query, key, value = (by_name.pop(name) for name in ("query", "key", "value"))
        options = {**self.options, **by_name}
        q, k, v, core = packed_call(query, key, value, self.starts_q, self.starts_k, options)
        if "dropout" in core:
            core["dropout_elements"] = self.elements
        out = np.empty((q.shape[1], q.shape[0], v.shape[-1]), q.dtype)
        _, lse = _core.attention(q, k, v, core, True, out.swapaxes(0, 1))
        return out, lse
