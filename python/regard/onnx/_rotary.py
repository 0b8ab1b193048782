"""RotaryEmbedding of opset 23."""

from __future__ import annotations

import numpy as np

from regard.onnx._compute import merged_heads
from regard.onnx._inputs import Array, by_head, check_float, require
from regard.onnx._operator import Operator
from regard.onnx._tables import check_tables, rows_at, turned


class RotaryEmbedding(Operator):
    """The operator RotaryEmbedding of ONNX, opset 23, for onnx's reference evaluator.

    Inputs are X, cos_cache, sin_cache and position_ids, attributes interleaved, num_heads and
    rotary_embedding_dim. Half precision is turned in float32 and rounded once.

    Raises
    ------
    ValueError
        From ``run``, when an input or attribute does not fit; the message names it.

    See Also
    --------
    regard.positions.rope : Rotary embeddings by their base, without tables.

    References
    ----------
    ONNX operator RotaryEmbedding: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html

    Examples
    --------
    >>> import numpy as np
    >>> import onnx
    >>> import regard.onnx
    >>> from onnx.reference import ReferenceEvaluator
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 10, opset_import: ["" : 23]>
    ...     g (float[B, N, S, D] X, float[M, H] C, float[M, H] Z, int64[B, S] P)
    ...     => (float[B, N, S, D] Y)
    ...     { Y = RotaryEmbedding (X, C, Z, P) }
    ... ''')
    >>> X = np.ones((1, 2, 3, 8), np.float32)
    >>> angles = np.outer(np.arange(9), 10000.0 ** (-np.arange(4) / 4)).astype(np.float32)
    >>> feeds = {"X": X, "C": np.cos(angles), "Z": np.sin(angles), "P": np.array([[5, 6, 7]])}
    >>> (Y,) = ReferenceEvaluator(model, new_ops=regard.onnx.ops).run(None, feeds)
    >>> np.allclose(Y, regard.positions.rope(X, [5, 6, 7]), atol=1e-6)
    True
    """

    op_domain = ""

    def compute(  # type: ignore[override]
        self,
        X: Array,
        cos_cache: Array,
        sin_cache: Array,
        position_ids: Array | None = None,
        *,
        interleaved: int = 0,
        num_heads: int | None = None,
        rotary_embedding_dim: int = 0,
    ) -> tuple[Array, ...]:
        """Compute Y."""
        check_float("X", require("X", X))
        if X.ndim not in (3, 4):
            raise ValueError(
                f"attention: X has shape {X.shape}.\n  Give (batch, length, hidden) or (batch, "
                "heads, length, dim)."
            )
        x = by_head("X", X, num_heads, "num_heads") if X.ndim == 3 else X
        batch, _, length, dim = x.shape
        given = position_ids is not None
        leading = (None,) if given else (batch, length)
        check_tables(x, cos_cache, sin_cache, rotary_embedding_dim or dim, leading)
        cos, sin = cos_cache, sin_cache
        if position_ids is not None:
            cos, sin = rows_at(position_ids, cos, sin, batch, length)
        y = turned(x, cos, sin, interleaved)
        return (merged_heads(y) if X.ndim == 3 else np.ascontiguousarray(y),)
