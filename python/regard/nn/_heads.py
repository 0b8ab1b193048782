"""Numbers of heads of an attention, inferred from the shapes of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Heads:
    """Numbers of heads of queries, and of keys and values; features of each."""

    query: int
    kv: int
    head_dim: int

    @property
    def widths(self) -> tuple[int, int, int]:
        """Columns of query, key and value."""
        kv = self.kv * self.head_dim
        return self.query * self.head_dim, kv, kv


def infer_heads(num_heads: int, out: Array, weights: tuple[Array | None, ...]) -> Heads:
    """Find the heads of ``out_proj.weight`` and the input projections.

    Parameters
    ----------
    num_heads : int
        Of queries.
    out : ndarray, shape (features, num_heads * head_dim)
    weights : tuple of ndarray or None
        in_proj_weight, or else q_proj_weight, k_proj_weight and v_proj_weight.

    Raises
    ------
    ValueError
        They do not fit.
    """
    together, *apart = weights
    columns = out.shape[1]
    if num_heads < 1 or columns % num_heads:
        raise ValueError(
            f"MultiHeadAttention: num_heads is {num_heads}, and out_proj.weight has {columns} "
            "columns.\n  Give a number of heads that divides them."
        )
    head_dim = columns // num_heads
    if together is not None:
        rows = [together.shape[0] - columns]
        each = rows[0] // 2
    else:
        if any(w is None for w in apart):
            raise ValueError(
                "MultiHeadAttention: there is neither in_proj_weight nor all of q_proj_weight, "
                "k_proj_weight and v_proj_weight.\n  Give the one or the three."
            )
        rows = [len(w) for w in apart if w is not None]
        each = rows[1]
    kv, wrong = divmod(each, head_dim)
    sound = (rows[0] == 2 * each) if together is not None else rows == [columns, each, each]
    if wrong or kv < 1 or num_heads % kv or not sound:
        shapes = ", ".join(str(w.shape) for w in weights if w is not None)
        raise ValueError(
            f"MultiHeadAttention: input projections of shapes {shapes} do not fit {num_heads} "
            f"heads of {head_dim}.\n  Rows are num_heads * head_dim for queries, and kv_heads * "
            "head_dim each for keys and values, with kv_heads a divisor of num_heads."
        )
    return Heads(num_heads, kv, head_dim)
