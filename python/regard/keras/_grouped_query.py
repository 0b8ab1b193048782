"""``GroupQueryAttention`` of Keras, whose class is called ``GroupedQueryAttention``."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from regard.keras._attend import attend
from regard.keras._masks import StructuredMasks, as_masks


@keras.saving.register_keras_serializable(package="regard")
class GroupedQueryAttention(StructuredMasks, keras.layers.GroupQueryAttention):
    """`keras.layers.GroupQueryAttention`, whose attention is computed by regard.

    As `MultiHeadAttention`; keys and values are not repeated for the heads that share them.

    Parameters
    ----------
    head_dim, num_query_heads, num_key_value_heads : int
    *args, **kwargs
        As in the stock layer.

    Raises
    ------
    NotImplementedError
        Keras runs on another backend than torch, jax, tensorflow and numpy.

    See Also
    --------
    MultiHeadAttention : What is said there of scores, dropout and hidden rows holds here.

    Examples
    --------
    >>> import keras
    >>> import regard.keras
    >>> x = keras.random.normal((2, 10, 16))
    >>> layer = regard.keras.GroupedQueryAttention(8, num_query_heads=4, num_key_value_heads=2)
    >>> layer(x, x, use_causal_mask=True).shape[1]
    10
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(head_dim, num_query_heads, num_key_value_heads, *args, **kwargs)
        self._groups = num_query_heads // num_key_value_heads
        self.num_repeats: int = 1  # what `call` does to keys and values
        # XLA compiles no NumPy.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def _window(self) -> int | None:
        window: int | None = getattr(self, "sliding_window", None)
        return window

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> tuple[Any, Any]:
        masks = as_masks(attention_mask, use_causal_mask)
        if self._return_attention_scores:
            key, value = (ops.repeat(x, self._groups, axis=2) for x in (key, value))
            found: tuple[Any, Any] = super()._compute_attention(
                query, key, value, self._merged(masks, query, key), training
            )
            return found
        out = attend(
            query, key, value, masks, scale=self._inverse_sqrt_head_dim,
            dropout=self.dropout if training else 0.0,
            generator=getattr(self._dropout_layer, "seed_generator", None),
        )  # fmt: skip
        return out, None
