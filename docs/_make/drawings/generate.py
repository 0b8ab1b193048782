"""The gallery's picture of generate.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import regard

TITLE = "A language model to chat with"
ARGUMENTS: tuple[str, ...] = (
    "--prompt",
    "Why is the sky blue?",
    "--temperature",
    "0",
    "--max-tokens",
    "60",
)
WORDS = (
    "SmolLM2-135M-Instruct in a page of NumPy. Keys and values are in a `regard.KVCache`, "
    "which turns them by their positions, rounds them to bfloat16 and attends."
)
CAPTION = (
    "How the nine heads of layer 5 read 14 tokens (roots of the weights), by "
    "`regard.attention_weights` and `regard.plot.heads`."
)


def draw(printed: str) -> Callable[[str], Any]:
    """How the nine heads of one layer read the beginning of a prompt."""
    from _models.smollm2.caches import NumpyCache
    from _models.smollm2.weights import load, packaged_file

    seen = []

    class Watched(NumpyCache):
        def attend(self, query: Any) -> Any:
            positions = np.arange(self.length - query.shape[1], self.length)
            keys = self.keys[:, : self.length]
            seen.append(regard.attention_weights(self.rope(query, positions), keys, causal=True))
            return super().attend(query)

    model, tokenizer = load(packaged_file())
    config = model.config
    tokens = tokenizer.encode("The cat sat on the mat because it was tired of the long walk")
    caches = [Watched(config.kv_heads, config.head_dim, 64) for _ in range(config.layers)]
    model.forward(tokens, caches)

    roots = np.sqrt(seen[4])

    def draw(ink: str) -> Any:
        return regard.plot.heads(roots, mask=np.tri(len(tokens), dtype=bool))

    return draw
