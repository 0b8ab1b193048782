"""On tensors of TensorFlow: by NumPy in the middle of the graph, with gradients."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

import regard
from regard.keras._on_numpy import options_of


def attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    causal: bool,
    window: int | None,
    scale: float,
    dropout: float,
    seed: Any,
) -> tuple[Any, Any]:
    """Output and LSE; the arguments are those of `regard.keras._attend.attend`."""
    of_lse = tf.float64 if query.dtype == tf.float64 else tf.float32
    # What numpy_function passes on; what is missing is empty.
    rest = (
        tf.zeros((0,), tf.bool) if mask is None else mask,
        tf.zeros((0,), tf.int64) if seed is None else tf.cast(seed, tf.int64),
    )

    def options(mask: Any, seed: Any) -> dict[str, Any]:
        return options_of(
            mask if mask.ndim == 4 else None, causal, window, scale, dropout,
            seed if seed.size else None,
        )  # fmt: skip

    def forward(query: Any, key: Any, value: Any, *rest: Any) -> Any:
        return regard.attention(query, key, value, return_lse=True, **options(*rest))

    def backward(dout: Any, *saved: Any) -> Any:
        found = regard.attention_backward(dout, *saved[:5], **options(*saved[5:]))
        return found.query, found.key, found.value

    @tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
    def differentiable(query: Any, key: Any, value: Any) -> Any:
        out, lse = tf.numpy_function(
            forward, (query, key, value, *rest), (query.dtype, of_lse), stateful=False
        )
        out.set_shape((*query.shape[:-1], value.shape[-1]))
        lse.set_shape((query.shape[0], query.shape[2], query.shape[1]))

        def gradient(dout: Any, dlse: Any) -> Any:
            found = tf.numpy_function(
                backward, (dout, query, key, value, out, lse, *rest),
                (query.dtype, key.dtype, value.dtype), stateful=False,
            )  # fmt: skip
            for x, of in zip(found, (query, key, value), strict=True):
                x.set_shape(of.shape)
            return tuple(found)

        return (out, lse), gradient

    out, lse = differentiable(query, key, value)
    return out, tf.stop_gradient(lse)
