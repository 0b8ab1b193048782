"""``explain``: how a call would be run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from regard import _core
from regard._call.core_options import check_names, core_options
from regard._call.options import RESULT
from regard._call.packed import packed_call

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Explanation:
    """How a call of `attention` is run; printed, a short table.

    Attributes
    ----------
    isa : str
        Instruction set of the kernel.
    dtype : str
        Type the call computes in.
    product_dtype : str
        Type of the factors in the products of tiles: "bfloat16" where the instruction set
        multiplies that as it is, else `dtype`.
    algorithm : {"forward", "decode", "forward+decode"}
        "decode" for at most 8 query rows a kv head, which share one pass over the keys.
    query_dtype, key_dtype, value_dtype : str
        Types they are kept in; the output has the query's.
    batch, query_heads, kv_heads, queries, keys, head_dim, value_dim : int
        The problem after broadcasting.
    scale : float
        Factor of the scores, that of the first head if they differ.
    options : str
        What else is done to scores and weights, in order.
    visible_share : float
        Share of the (query, key) pairs that positions, lengths and the tiles of a BlockMask
        leave.
    query_block, key_tile : int
        Most query rows in a unit of work; keys in a tile.
    heads_a_unit : int
        Query heads that share keys and are done in one go.
    key_groups : int
        Parts that the keys of a decoded head are cut into, at most; 0 without decoding.
    units, threads : int
        Units of work, and the threads that share them.
    scratch_bytes : int
        Working memory of one thread, whatever the length of the sequences.
    key_in_place, value_in_place : bool
        Whether keys and values are read where they lie; otherwise widened, or gathered, tile by
        tile.
    """

    isa: str
    dtype: str
    product_dtype: str
    algorithm: str
    query_dtype: str
    key_dtype: str
    value_dtype: str
    batch: int
    query_heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int
    scale: float
    options: str
    visible_share: float
    query_block: int
    key_tile: int
    heads_a_unit: int
    key_groups: int
    units: int
    threads: int
    scratch_bytes: int
    key_in_place: bool
    value_in_place: bool

    @property
    def kernel(self) -> str:
        """Name of the kernel, e.g. ``"forward/avx512/float32"``."""
        return f"{self.algorithm}/{self.isa}/{self.product_dtype}"

    def __str__(self) -> str:
        rows = {"kernel": self.kernel}
        rows.update(
            (field.name, f"{value:.6g}" if isinstance(value, float) else str(value))
            for field in fields(self)
            if (value := getattr(self, field.name)) not in (None, "") and field.name not in rows
        )
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def explain(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    **options: Any,
) -> Explanation:
    """Say how `attention` or `varlen_attention` would run this call, without running it.

    Parameters
    ----------
    query, key, value, **options
        As in `attention`. return_lse and out are accepted so that a call can be explained as it
        stands; they change nothing.
    cu_seqlens_q, cu_seqlens_k : array_like of int, optional
        As in `varlen_attention`: query, key and value are then packed pieces.

    Returns
    -------
    Explanation
        Instruction set, kernel, options, tile sizes, units of work, threads, scratch memory.

    Raises
    ------
    ValueError, TypeError
        As the call would.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> x = np.zeros((8, 1000, 64), np.float32)
    >>> plan = regard.explain(x, x, x, causal=True, softcap=30.0)
    >>> plan.dtype, plan.queries, plan.options, round(plan.visible_share, 4)
    ('float32', 1000, 'softcap', 0.5005)
    """
    for name in RESULT:
        options.pop(name, None)
    check_names("explain", options)
    if cu_seqlens_q is not None or cu_seqlens_k is not None:
        packed = packed_call(query, key, value, cu_seqlens_q, cu_seqlens_k, options)
        return Explanation(**_core.explain(*packed))
    core = core_options(query, options)
    return Explanation(**_core.explain(query, key, value, core or None))
