"""``explain``: how a call would be run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from regard import _core
from regard._call.core_options import check_names, core_options
from regard._call.layout import arrays_by_head, take_layout
from regard._call.messages import in_the_name_of
from regard._call.options import RESULT
from regard._call.packed import packed_call
from regard._call.scores import check_top_k, scores_call
from regard.gradients._call import DifferentiableCall

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Unpack

    from regard._call.types import ExplainedOptions
    from regard._core import _Options as CoreOptions


@dataclass(frozen=True)
class Explanation:
    """How a call is run; printed, a short table.

    Attributes
    ----------
    isa : str
        Instruction set of the kernel.
    dtype : str
        Type the call computes in.
    product_dtype : str
        Type of the factors in the products of tiles: "bfloat16" where the instruction set
        multiplies that as it is, else `dtype`.
    algorithm : str
        "forward", "decode" or "forward+decode" for `attention`, "decode" for at most 8 query rows
        a kv head, which share one pass over the keys; "weights", "summary", "backward" and
        "tangent" for `attention_weights`, `attention_summary`, the gradients behind
        `attention_vjp`, and `attention_jvp`.
    query_dtype, key_dtype, value_dtype : str
        Types they are kept in; the output has the query's. No value_dtype: values take no part.
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
        Parts that the keys of a head are cut into, at most, where it is decoded or its keys are
        latent; else 0.
    score_mod_calls : int
        How often about score_mod and its gradient are called: a compiled function for each query
        and tile of keys, one of NumPy arrays ("score mod in Python" in `options`) for each tile,
        with the GIL: some 20 us each, one after the other. 0 without one.
    units, threads : int
        Units of work, and the threads that share them.
    scratch_bytes : int
        Working memory of one thread, whatever the length of the sequences.
    key_in_place, value_in_place : bool
        Whether keys and values are read where they lie; otherwise widened, or gathered, tile by
        tile.
    value_in_key : bool
        Whether value is the first columns of key, in the same memory (``key[..., :value_dim]``), so
        that one reading serves both.
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
    score_mod_calls: int
    units: int
    threads: int
    scratch_bytes: int
    key_in_place: bool
    value_in_place: bool
    value_in_key: bool

    @property
    def kernel(self) -> str:
        """Name of the kernel, e.g. ``"forward/avx512/float32"``."""
        return f"{self.algorithm}/{self.isa}/{self.product_dtype}"

    def __str__(self) -> str:
        rows = {"kernel": self.kernel}
        rows.update(
            (field.name, f"{value:.6g}" if isinstance(value, float) else str(value))
            for field in fields(self)
            if (value := getattr(self, field.name)) != "" and self._concerns(field.name)
        )
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())

    def _concerns(self, name: str) -> bool:
        if name == "score_mod_calls":
            return self.score_mod_calls > 0
        return bool(self.value_dtype) or not name.startswith("value_")


_PASSES = {
    "attention": "forward",
    "attention_weights": "weights",
    "attention_summary": "summary",
    "attention_vjp": "backward",
    "attention_jvp": "tangent",
}


@in_the_name_of("explain")
def explain(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    *,
    call: str = "attention",
    top_k: int = 8,
    **options: Unpack[ExplainedOptions],
) -> Explanation:
    """Say how a function would run this call, without running it.

    Parameters
    ----------
    query, key, value, **options
        As in the function. With "attention", return_lse and out are accepted so that a call can be
        explained as it stands; they change nothing.
    cu_seqlens_q, cu_seqlens_k : array_like of int, optional
        As in `varlen_attention`: query, key and value are then packed pieces.
    call : str, default "attention"
        The function: "attention" (also `varlen_attention`), "attention_weights" (of all rows),
        "attention_summary", which have no value, "attention_vjp" or "attention_jvp". Of a vjp it
        is the way back, for all gradients that the call has; the way there is "attention".
    top_k : int, default 8
        That of `attention_summary`.

    Returns
    -------
    Explanation
        Instruction set, kernel, options, tile sizes, units of work, threads, scratch memory.

    Raises
    ------
    ValueError, TypeError
        As the call would; or call is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> x = np.zeros((8, 1000, 64), np.float32)
    >>> plan = regard.explain(x, x, x, causal=True, softcap=30.0)
    >>> plan.dtype, plan.queries, plan.options, round(plan.visible_share, 4)
    ('float32', 1000, 'softcap', 0.5005)
    >>> regard.explain(x, x, x, causal=True, call="attention_vjp").kernel.split("/")[0]
    'backward'
    """
    given: dict[str, Any] = {**options}
    if not isinstance(call, str) or call not in _PASSES:
        raise ValueError(f"explain: call is {call!r}.\n  Give one of {', '.join(_PASSES)}.")
    starts = None if cu_seqlens_q is None and cu_seqlens_k is None else (cu_seqlens_q, cu_seqlens_k)
    if call in ("attention_weights", "attention_summary"):
        if starts is not None:
            raise TypeError(f"explain: {call} takes no packed pieces.\n  Give one piece.")
        rows, columns, of_scores = scores_call(call, query, key, given)
        check_top_k(top_k, columns, of_scores)
        found = _core.explain(rows, columns, columns, of_scores or None, _PASSES[call], int(top_k))
        return Explanation(**found)
    if value is None:
        raise TypeError(f"explain: value is missing.\n  Give it as to {call}.")
    if call == "attention":
        for name in RESULT:
            given.pop(name, None)
        check_names("explain", given)
        arguments: tuple[ArrayLike, ArrayLike, ArrayLike, CoreOptions]
        if starts is not None:
            arguments = packed_call(query, key, value, *starts, given)
        else:
            if (layout := take_layout(given)) is not None:
                query, key, value = arrays_by_head(layout, query, key, value, given)
            arguments = (query, key, value, core_options(query, key, given))
    else:
        of = DifferentiableCall("explain", query, key, value, given, starts)
        arguments = (of.query, of.key, of.value, of.options)
    q, k, v, core = arguments
    return Explanation(**_core.explain(q, k, v, core or None, _PASSES[call], 0))
