"""``varlen_attention``: packed pieces of different lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from regard._call.core_options import check_names
from regard._call.messages import in_the_name_of
from regard._call.packed import packed_attention

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Unpack

    from regard._call.types import AttentionOptions


@overload
def varlen_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike | None = None,
    *,
    return_lse: Literal[False] = False,
    out: NDArray[Any] | None = None,
    **options: Unpack[AttentionOptions],
) -> NDArray[Any]: ...


@overload
def varlen_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike | None = None,
    *,
    return_lse: Literal[True],
    out: NDArray[Any] | None = None,
    **options: Unpack[AttentionOptions],
) -> tuple[NDArray[Any], NDArray[Any]]: ...


@overload
def varlen_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike | None = None,
    *,
    return_lse: bool,
    out: NDArray[Any] | None = None,
    **options: Unpack[AttentionOptions],
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...


@in_the_name_of("varlen_attention")
def varlen_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike | None = None,
    *,
    return_lse: bool = False,
    out: NDArray[Any] | None = None,
    **options: Unpack[AttentionOptions],
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Attention within each piece of a packed batch, without padding.

    Parameters
    ----------
    query : array_like, shape (total_q, Hq, D)
        The queries of all pieces, one piece after the other; types as in `regard.attention`.
    key : array_like, shape (total_k, Hkv, D)
    value : array_like, shape (total_k, Hkv, Dv)
        Packed likewise. Any strides. Pages, with block_table.
    cu_seqlens_q, cu_seqlens_k : array_like of int, shape (pieces + 1,)
        Piece n has the queries ``cu_seqlens_q[n]`` to ``cu_seqlens_q[n + 1]``, and keys likewise.
        They begin at 0, never fall, and end at the totals; a piece may be empty. With a
        block_table, (pieces, blocks), there are key_lengths instead of cu_seqlens_k.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators.
    out : ndarray, shape (total_q, Hq, Dv), optional
        Written in place.
    **options
        As in `regard.attention`; key_scales and value_scales are (total_k, Hkv). The pieces are
        the batch: key_lengths, query_lengths and query_offset broadcast to (pieces,) and count
        within them, mask and bias broadcast to (pieces, Hq, longest Sq, longest Sk), alibi_slopes
        to (pieces, Hq), query_scale to (Hq, total_q), and dropout draws by the number of the piece.

    Returns
    -------
    out : ndarray, shape (total_q, Hq, Dv)
    lse : ndarray, shape (Hq, total_q)
        Only with return_lse.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention` does; nothing has been written.

    See Also
    --------
    regard.masks.documents : The same as a mask, for a batch that is padded or mixed.

    Notes
    -----
    Bitwise what `regard.attention` gives for the pieces one by one, dropout aside. The arguments
    are those of FlashAttention's ``flash_attn_varlen_func``.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> query, key, value = rng.standard_normal((3, 10, 4, 16))  # sentences of 3 and 7 words
    >>> out = regard.varlen_attention(query, key, value, [0, 3, 10], [0, 3, 10], causal=True)
    >>> second = [x[3:].swapaxes(0, 1) for x in (query, key, value)]
    >>> bool((out[3:].swapaxes(0, 1) == regard.attention(*second, causal=True)).all())
    True
    """
    given: dict[str, Any] = {**options}
    check_names("varlen_attention", given)
    return packed_attention(query, key, value, cu_seqlens_q, cu_seqlens_k, given, return_lse, out)
