"""``attend`` of a paged cache: packed queries, and the pages that they see."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard._varlen import varlen_attention
from regard.cache import _check
from regard.cache._packing import handles_of, pieces_of
from regard.cache._paged_appending import PagedAppending
from regard.cache._rotary import first_positions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard._call.types import CachedOptions

    Array: TypeAlias = NDArray[Any]


class PagedAttendingRows(PagedAppending):
    """How packed queries attend to a cache in pages."""

    __slots__ = ()

    def _attend_to(
        self,
        sequences: int | Several[int],
        queries: list[tuple[ArrayLike, str]],
        cu_seqlens_q: ArrayLike | None,
        return_lse: bool,
        out: Array | None,
        given: dict[str, Any],
    ) -> Array | tuple[Array, Array]:
        """Attention of queries, whose columns are in one array or two, with their names."""
        several = self._sequences.look_up(sequences, "attend")
        parts = [_check.rows(query, name) for query, name in queries]
        rows = parts[0]
        if self._latent:
            rows = _check.latent_queries(parts, self.value_dim, self.head_dim - self.value_dim)
        if rows.ndim != 3:
            raise ValueError(
                f"attend: query has shape {rows.shape}.\n  Give (queries, heads, "
                f"head_dim={self.head_dim}), one sequence after the other."
            )
        _check.refuse_decided(given)
        total = len(rows)
        starts, cuts = pieces_of(cu_seqlens_q, total, len(several), "attend: cu_seqlens_q")
        table_rows = np.array([one.row for one in several], np.int64)
        lengths = self._sequences.lengths[table_rows]
        if (cuts > lengths).any():
            _check.queries_have_tokens(
                cuts, lengths, given, lambda n: f"sequence {handles_of(sequences)[n]}"
            )
        if self._rotation is not None:
            _check.query_dim(rows, self.head_dim)
            first = first_positions(lengths, cuts, given)
            positions = np.repeat(first - starts, cuts) + np.arange(total)
            rows = self._rotation.turn(rows, positions[:, np.newaxis])
        longest = int(lengths.max(initial=0))
        blocks = -(-longest // self.page_size)
        given.setdefault("causal", True)
        _check.widen_masks(given, longest, blocks * self.page_size)
        keys, values, scales = self._storage.by_token()
        given.update(
            block_table=self._sequences.table[table_rows, :blocks], key_lengths=lengths, **scales
        )
        return varlen_attention(
            rows, keys, values, np.append(starts, total), None, return_lse=return_lse, out=out,
            **given,
        )  # fmt: skip


class PagedAttending(PagedAttendingRows):
    """A cache in pages that queries can attend to."""

    __slots__ = ()

    @overload
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: Literal[False] = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array: ...
    @overload
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: Literal[True],
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> tuple[Array, Array]: ...
    @overload
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: bool,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]: ...
    @in_the_name_of("attend")
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: bool = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]:
        """Attention of the latest tokens of each sequence to all of its tokens.

        Parameters
        ----------
        sequences : int or sequence of int
        query : array_like, shape (total_q, Hq, head_dim)
            Those of the first sequence, then those of the next; the last one of each is of its
            last token. Hq is a multiple of kv_heads.
        cu_seqlens_q : array_like of int, shape (len(sequences) + 1,), optional
            Sequence n has the queries ``cu_seqlens_q[n]`` to ``cu_seqlens_q[n + 1]``. By default,
            each has the same number.
        return_lse : bool, default False
            Also return the logarithm of the softmax denominators.
        out : ndarray, optional
            Written in place; of the shape of the output.
        **options
            As of `varlen_attention`, whose pieces are the sequences, but causal is True by default.
            A mask or bias has one entry for each token of the longest sequence in its last axis.

        Returns
        -------
        out : ndarray, shape (total_q, Hq, value_dim)
            In the dtype of query.
        lse : ndarray, shape (Hq, total_q)
            Only with return_lse.

        Raises
        ------
        ValueError, TypeError
            As `varlen_attention` does; or there is no such sequence, one has fewer tokens than
            queries, or an option is the cache's own to give.
        """
        return self._attend_to(
            sequences, [(query, "query")], cu_seqlens_q, return_lse, out, {**options}
        )
