"""Keras' attention layers, computed by regard: for the backends torch, jax, tensorflow and numpy.

Imported only when asked for; ``pip install "regard[keras]"`` installs Keras, and its backend is
what is installed and chosen (``KERAS_BACKEND``).
"""

from regard.keras._grouped_query import GroupedQueryAttention
from regard.keras._multi_head import MultiHeadAttention

#: What Keras calls it in ``keras.layers``.
GroupQueryAttention = GroupedQueryAttention

__all__ = ["GroupQueryAttention", "GroupedQueryAttention", "MultiHeadAttention"]
