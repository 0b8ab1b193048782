"""``attend`` of a contiguous cache: where its queries stand, and which rows they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._attention import attention
from regard._call.layout import take_layout
from regard._call.messages import in_the_name_of
from regard._layout import Layout as Order
from regard.cache import _check
from regard.cache._contents import Contents
from regard.cache._ring_attend import attend as attend_to_ring
from regard.cache._rotary import MOVES, first_positions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard._call.types import CachedOptions

    Array: TypeAlias = NDArray[Any]

_ALL = slice(None)


def _by_head(queries: list[tuple[ArrayLike, str]], order: Order | None) -> list[Array]:
    """Check queries, and put heads before queries."""
    parts = [_check.rows(query, name) for query, name in queries]
    if order is not None:
        parts = [order.by_head(x, name) for x, (_, name) in zip(parts, queries, strict=True)]
    return parts


class AttendingRows(Contents):
    """How queries attend to a contiguous cache."""

    __slots__ = ()

    def _attend_to(
        self,
        queries: list[tuple[ArrayLike, str]],
        return_lse: bool,
        out: Array | None,
        given: dict[str, Any],
    ) -> Array | tuple[Array, Array]:
        """Attention of queries, whose columns are in one array or several, with their names."""
        if given:
            _check.refuse_decided(given)
        if return_lse:
            given["return_lse"] = True
        order = take_layout(given)
        parts, layout = _by_head(queries, order), self._state.layout
        rows = parts[0]
        if layout.latent:
            rows = _check.latent_queries(
                parts, layout.value_dim, layout.head_dim - layout.value_dim
            )
        into: Any = out
        if order is not None:
            if isinstance(out, np.ndarray):
                into = order.by_head(out, "out")
            elif out is None:
                into = order.empty((*rows.shape[:-1], self._state.layout.value_dim), rows.dtype)
        one = rows.ndim == 3 and self._state.layout.batch == 1
        if one:
            rows = rows[np.newaxis]
            into = into[np.newaxis] if isinstance(into, np.ndarray) else into
        if into is not None:
            given["out"] = into
        self._check_shape(rows)
        found, lse = self._attend(rows, given), None
        if isinstance(found, tuple):
            found, lse = found
        result: Array = found[0] if one else found
        if order is not None:
            result = order.as_given(result)
        result = result if out is None else out
        return result if lse is None else (result, lse[0] if one else lse)

    def _check_shape(self, rows: Array) -> None:
        layout = self._state.layout
        if rows.ndim != 4:
            axes = "heads" if layout.batch == 1 else f"batch={layout.batch}, heads"
            raise ValueError(
                f"attend: query has shape {rows.shape}.\n  Give ({axes}, queries, "
                f"head_dim={layout.head_dim})."
            )

    def _attend(self, query: NDArray[Any], options: dict[str, Any]) -> Any:
        """Attention of query (batch, Hq, Sq, D)."""
        state, rotation, count = self._state, self._state.rotation, query.shape[2]
        if count > state.same:
            _check.queries_have_tokens(count, state.lengths, options, "batch element {}".format)
        if rotation is not None:
            _check.query_dim(query, state.layout.head_dim)
        if state.ring is not None:
            return attend_to_ring(
                state.ring, state.storage, state.lengths, state.highest, rotation, query, options
            )
        longest = state.same
        if rotation is not None:
            if longest >= 0 and not options.keys() & MOVES:
                query = rotation.turn_from(query, longest - count)
            else:
                first = first_positions(state.lengths, count, options)
                query = rotation.turn(query, first[:, np.newaxis, np.newaxis] + np.arange(count))
        if count != 1 or "query_offset" in options:  # the latest token sees everything
            options.setdefault("causal", True)
        if longest < 0:
            options["key_lengths"] = state.lengths
            longest = int(state.lengths.max())
        keys, values, scales = state.storage.at((_ALL, _ALL, slice(longest)))
        if scales:
            options.update(scales)
        return attention(query, keys, values, **options)


class Attending(AttendingRows):
    """A cache that queries can attend to."""

    __slots__ = ()

    @overload
    def attend(
        self,
        query: ArrayLike,
        *,
        return_lse: Literal[False] = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array: ...
    @overload
    def attend(
        self,
        query: ArrayLike,
        *,
        return_lse: Literal[True],
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> tuple[Array, Array]: ...
    @overload
    def attend(
        self,
        query: ArrayLike,
        *,
        return_lse: bool,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]: ...
    @in_the_name_of("attend")
    def attend(
        self,
        query: ArrayLike,
        *,
        return_lse: bool = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]:
        """Attention of the latest tokens to all tokens of the cache.

        Parameters
        ----------
        query : array_like, shape (batch, Hq, Sq, D)
            The last query is of the last token that was appended; without the first axis if batch
            is 1. Hq is a multiple of kv_heads.
        return_lse : bool, default False
            Also return the logarithm of the softmax denominators.
        out : ndarray, optional
            Written in place; of the shape of the output.
        **options
            As of `regard.attention`, but causal is True by default. After an append with
            ``lengths=n``, give ``query_lengths=n``. A mask or bias has one entry for each token of
            the longest batch element in its last axis. With a window, there are only scale,
            query_scale, softcap, similarity, alibi_slopes, position_bias, sinks, query_lengths,
            layout and num_threads.

        Returns
        -------
        out : ndarray, shape (batch, Hq, Sq, value_dim)
            In the dtype of query; its axes are those of query.
        lse : ndarray, shape (batch, Hq, Sq)
            Only with return_lse.

        Raises
        ------
        ValueError
            As `regard.attention` does; or there are more queries than tokens, or a token that a
            query should see has been overwritten.
        TypeError
            As `regard.attention` does; or an option makes no sense here.
        """
        return self._attend_to([(query, "query")], return_lse, out, {**options})
