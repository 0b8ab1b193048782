"""all-MiniLM-L6-v2 in `regard.nn`: BERT's names of weights in torch's, and texts to vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard import nn

Array: TypeAlias = NDArray[Any]

#: Names inside a layer of BERT, and those of ``torch.nn.TransformerEncoderLayer``.
NAMES = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def encoder_arrays(weights: Mapping[str, Array], layers: int) -> dict[str, Array]:
    """Rename the weights of BERT's layers, and put query, key and value together."""
    arrays: dict[str, Array] = {}
    for number in range(layers):
        theirs, ours = f"encoder.layer.{number}.", f"layers.{number}."
        for kind in ("weight", "bias"):
            own = f"{theirs}attention.self."
            parts = [weights[f"{own}{n}.{kind}"] for n in ("query", "key", "value")]
            arrays[f"{ours}self_attn.in_proj_{kind}"] = np.concatenate(parts)
            for old, new in NAMES.items():
                arrays[f"{ours}{new}.{kind}"] = weights[f"{theirs}{old}.{kind}"]
    return arrays


class MiniLM:
    """Embeddings, six layers, and the mean over the tokens of each text.

    Parameters
    ----------
    file : Path
        ``model.safetensors``.
    """

    def __init__(self, file: Path) -> None:
        weights = nn.load_safetensors(file)
        self.words = nn.Embedding(weights["embeddings.word_embeddings.weight"])
        self.places = nn.Embedding(weights["embeddings.position_embeddings.weight"])
        self.kind = weights["embeddings.token_type_embeddings.weight"][0]
        norm = {n: weights[f"embeddings.LayerNorm.{n}"] for n in ("weight", "bias")}
        self.norm = nn.LayerNorm.from_state_dict(norm, eps=1e-12)
        self.encoder = nn.TransformerEncoder.from_state_dict(
            encoder_arrays(weights, 6), num_heads=12, activation="gelu", eps=1e-12
        )

    def embed(self, texts: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        """Look up words and places of texts of token numbers, packed: rows and offsets."""
        tokens, offsets = nn.pack([np.asarray(text) for text in texts])
        positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], np.diff(offsets))
        return self.norm(self.words(tokens) + self.places(positions) + self.kind), offsets

    def __call__(self, texts: Sequence[Sequence[int]]) -> Array:
        """Embed texts of token numbers, packed: (texts, 384), of length one."""
        x, offsets = self.embed(texts)
        x = self.encoder(x, offsets=offsets)
        sums = np.add.reduceat(x, offsets[:-1])  # a mean, but for a length that is taken out
        embeddings: Array = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return embeddings
