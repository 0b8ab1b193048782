"""The arrays of a call on dask arrays: checked before anything is scheduled."""

from __future__ import annotations

from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from regard import _core
from regard._call.core_options import check_names, core_options, refuse
from regard._call.layout import take_layout
from regard._layout import Layout
from regard.bias import Grid as GridBias
from regard.dask._grid import Grid, Label, Labels, Part, kv_chunks, labels_of
from regard.dask._options import LARGE, PartOptions, chunked

Array: TypeAlias = NDArray[Any]

_INPUTS = ("query", "key", "value")
_AXES = {"heads": "heads", "kv_heads": "heads", "queries": "queries", "keys": "keys"}


class Problem:
    """Query, key and value by head, their chunks, and options.

    Parameters
    ----------
    query, key, value : dask.array.Array
    options : dict
        As in `regard.attention`.

    Raises
    ------
    ValueError
        Chunks or shapes do not fit.
    TypeError
        Something is no dask array, or an option that cannot be one.
    """

    def __init__(self, query: Any, key: Any, value: Any, options: dict[str, Any]) -> None:
        check_names("attention", options)
        refuse(
            options, ("block_table",),
            "has no meaning in chunks.\n  Give keys and values as arrays.",
        )  # fmt: skip
        given = {name: x for name, x in options.items() if x is not None}
        arrays = zip(_INPUTS, (query, key, value), strict=True)
        inputs = {name: _dask_array(name, x) for name, x in arrays}
        self.layout: Layout | None = take_layout(given)
        if self.layout is not None:
            inputs = {name: self.layout.by_head(x, name) for name, x in inputs.items()}
            for name in ("key_scales", "value_scales"):
                if name in given:
                    given[name] = self.layout.by_head(given[name], name, rows=True)
        self.inputs: dict[str, da.Array] = inputs
        for name, x in given.items():
            given[name] = _option(name, x)
        check_call(inputs, given)
        self.grid = _grid(inputs)
        _check_cut(given, self.grid)
        self.options = PartOptions(given, self.grid)
        large = {name: chunked(name, x, self.grid) for name, x in self.options.large.items()}
        #: All arrays that parts read, by name.
        self.arrays: dict[str, da.Array] = {**inputs, **large}
        self.computed = np.dtype(np.float64 if inputs["query"].dtype == np.float64 else np.float32)

    @property
    def out_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Chunks of the output, by head."""
        return (*self.lse_chunks, (self.inputs["value"].shape[-1],))

    @property
    def lse_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Chunks of the LSE."""
        return tuple(self.grid.chunks[label] for label in self.out_labels)

    @property
    def out_labels(self) -> Labels:
        """Labels of the output's axes but the last."""
        heads: Labels = ("heads",) if max(x.ndim for x in self.inputs.values()) > 2 else ()
        return (*self.grid.batch_labels, *heads, "queries")

    def parts(self, output: Part) -> list[Part]:
        """Parts that an output's chunk is made of: those with a key that some query may see."""
        found: list[Part] = []
        for chunk in range(len(self.grid.chunks["keys"])):
            part = self.grid.with_keys(output, chunk, not found)
            if self.options.sees(part):
                found.append(part)
        return found

    def keys_of(self, part: Part, arrays: dict[str, da.Array]) -> list[tuple[Any, ...]]:
        """Return the tasks that compute the blocks that a part reads."""
        return [
            (x.name, *part.block(labels_of(_like(name), x.ndim), x.shape))
            for name, x in arrays.items()
        ]


def _like(name: str) -> str:
    return {"dout": "out", "dlse": "lse"}.get(name, name)


def _dask_array(name: str, x: Any) -> da.Array:
    if not isinstance(x, da.Array):
        raise TypeError(
            f"attention: {name} is a {type(x).__name__}.\n  Give a dask array, e.g. "
            f"dask.array.from_array({name}, chunks=...); regard.attention is for one machine."
        )
    if any(np.isnan(size) for size in x.shape):
        raise ValueError(
            f"attention: {name} has chunks of unknown size, shape {x.shape}.\n  Call "
            f"{name}.compute_chunk_sizes() first."
        )
    if x.ndim < 2:
        raise ValueError(
            f"attention: {name} has shape {x.shape}.\n  Give (..., heads, length, dim), or (length,"
            " dim) for one head."
        )
    return x


def _option(name: str, x: Any) -> Any:
    if isinstance(x, da.Array):
        if name not in LARGE:
            raise TypeError(
                f"attention: {name} is a dask array, and decides what there is to compute.\n  Give "
                f"{name}.compute()."
            )
        if any(np.isnan(size) for size in x.shape):
            raise ValueError(
                f"attention: {name} has chunks of unknown size, shape {x.shape}.\n  Call "
                f"{name}.compute_chunk_sizes() first."
            )
        return x
    if name == "mask" and hasattr(x, "to_dense"):
        raise TypeError(
            f"attention: mask is a {type(x).__name__}, which is not cut into chunks.\n  Give "
            "mask.to_dense(); chunks that it hides are not scheduled."
        )
    return np.asarray(x) if name in LARGE else x


def check_call(inputs: dict[str, Any], given: dict[str, Any]) -> None:
    """Have the core see a call of these shapes: errors that are not of chunks are its own.

    Parameters
    ----------
    inputs : dict
        query, key and value; only their shapes and dtypes matter.
    given : dict
        Options.
    """
    like = {name: stand_in(x.shape, x.dtype) for name, x in inputs.items()}
    options = {
        name: stand_in(x.shape, x.dtype) if isinstance(x, da.Array) else x
        for name, x in given.items()
    }
    core = core_options(like["query"], like["key"], options)
    _core.explain(like["query"], like["key"], like["value"], core or None, "forward", 8)


def stand_in(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of zeros that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _grid(inputs: dict[str, da.Array]) -> Grid:
    chunks: dict[Label, tuple[int, ...]] = {}
    of: dict[Label, str] = {}
    for name, x in inputs.items():
        for axis, label in enumerate(labels_of(name, x.ndim)):
            mine = x.chunks[axis]
            if label is None:
                if len(mine) > 1:
                    raise ValueError(
                        f"attention: {name} is cut along head_dim into chunks {mine}.\n  Give it "
                        f"whole: {name}.rechunk({{-1: -1}})."
                    )
            elif isinstance(label, int) and x.shape[axis] == 1:
                chunks.setdefault(label, (1,))
            elif chunks.get(label, (1,)) in ((1,), mine) and of.get(label, name) is not None:
                if label not in of or chunks[label] != mine:
                    chunks[label], of[label] = mine, name
            elif chunks[label] != mine:
                raise _mismatch(of[label], chunks[label], name, mine, axis - x.ndim, label)
    for label in ("heads", "kv_heads"):
        chunks.setdefault(label, (1,))
    heads, kv_heads = sum(chunks["heads"]), sum(chunks["kv_heads"])
    group = heads // kv_heads if kv_heads else 1
    wanted = kv_chunks(chunks["heads"], max(1, group))
    if wanted is None:
        raise ValueError(
            f"attention: query has chunks of {chunks['heads']} heads, and {group} heads share a "
            f"key head.\n  Give chunks of whole groups: query.rechunk({{-3: {group}}})."
        )
    if wanted != chunks["kv_heads"]:
        raise ValueError(
            f"attention: query has chunks of {chunks['heads']} heads, key of "
            f"{chunks['kv_heads']}.\n  Chunks of heads go together: key.rechunk({{-3: {wanted}}}), "
            "and value likewise."
        )
    return Grid(chunks, max(1, group))


def _mismatch(
    one: str, chunks: tuple[int, ...], other: str, others: tuple[int, ...], axis: int, label: Label
) -> ValueError:
    what = _AXES.get(str(label), "batch elements")
    return ValueError(
        f"attention: {one} and {other} are cut into other chunks of {what}.\n  {one}  {chunks}\n"
        f"  {other}  {others}\n  Give them the same: {other}.rechunk({{{axis}: {chunks}}})."
    )


def _check_cut(given: dict[str, Any], grid: Grid) -> None:
    whole = len(grid.chunks["queries"]) == len(grid.chunks["keys"]) == 1
    if isinstance(given.get("position_bias"), GridBias) and not whole:
        raise ValueError(
            "attention: position_bias is a Grid, whose pixels are not cut into chunks.\n  Give "
            "query and key in one chunk of their length, or bias=position_bias.to_dense(queries, "
            "keys)."
        )
