"""``MultiHeadAttention`` of Keras."""

from __future__ import annotations

from typing import Any

import keras

from regard.keras._attend import attend_over
from regard.keras._masks import StructuredMasks, as_masks


@keras.saving.register_keras_serializable(package="regard")
class MultiHeadAttention(StructuredMasks, keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention`, whose attention is computed by regard.

    Arguments, weights, their names and files, and results are those of the stock layer, and so are
    `get_config` and what `call` takes. The scores are never held in memory, and the causal mask and
    the sliding window are known to the kernel, which does not compute what they hide.

    Parameters
    ----------
    num_heads, key_dim : int
    *args, **kwargs
        As in the stock layer. ``flash_attention`` says what it said there of attention scores and
        dropout; attention is computed tile by tile either way.

    Raises
    ------
    NotImplementedError
        Keras runs on another backend than torch, jax, tensorflow and numpy.

    See Also
    --------
    GroupedQueryAttention : With fewer heads of key and value.

    Notes
    -----
    Weights that are asked for by ``return_attention_scores`` are computed by the stock layer, with
    memory for every pair. Dropout leaves out as many weights as in the stock layer, but others; the
    layer's seed repeats them. A query whose masks hide all keys gives the mean of all values, as in
    Keras, and that has no gradient by query and key.

    Examples
    --------
    >>> import keras
    >>> import regard.keras
    >>> x = keras.random.normal((2, 10, 16))
    >>> ours = regard.keras.MultiHeadAttention(num_heads=4, key_dim=8)
    >>> ours(x, x, use_causal_mask=True).shape[1]
    10
    """

    def __init__(self, num_heads: int, key_dim: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(num_heads, key_dim, *args, **kwargs)
        # XLA compiles no NumPy.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def _window(self) -> int | None:
        window: int | None = getattr(self, "_sliding_window", None)
        return window

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> tuple[Any, Any]:
        masks = as_masks(attention_mask, use_causal_mask)
        if return_attention_scores:
            mask = self._merged(masks, query, key)
            found: tuple[Any, Any] = super()._compute_attention(
                query, key, value, mask, training, True
            )
            return found
        out = attend_over(
            self._attention_axes, query, key, value, masks, scale=self._inverse_sqrt_key_dim,
            dropout=self._dropout if training else 0.0,
            generator=getattr(self._dropout_layer, "seed_generator", None),
        )  # fmt: skip
        return out, None
