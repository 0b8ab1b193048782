"""Whisper: an encoder over sound, and a decoder that writes what it heard.

    features (80, 3000) -> two convolutions -> encoder -> memory (1500, 384)
    tokens -> decoder, which attends to the memory -> logits of the next token

Keys and values of the tokens so far are in one `regard.KVCache` a layer, those of the memory in
another, which is filled once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from regard import nn

from .weights import read_tensors, stack_arrays

Array = NDArray[Any]

START, NO_TIMESTAMPS, END = 50257, 50362, 50256


@dataclass(frozen=True)
class Caches:
    """Of each layer, keys and values of the tokens, and of the memory."""

    tokens: list[regard.KVCache]
    memory: list[regard.KVCache]


class Whisper:
    """The English model of 4 and 4 layers, 6 heads of 64.

    Parameters
    ----------
    folder : Path
        With `model.bin` and `config.json`, as CTranslate2 converts models.
    """

    def __init__(self, folder: Path) -> None:
        tensors = {
            name: x.astype(np.float32) if x.dtype == np.float16 else x
            for name, x in read_tensors(folder / "model.bin").items()
        }
        self.config = json.loads((folder / "config.json").read_text("utf-8"))
        self.heads = int(tensors["encoder/num_heads"])
        self.convolutions = [
            nn.Linear(tensors[f"encoder/{c}/weight"].reshape(384, -1), tensors[f"encoder/{c}/bias"])
            for c in ("conv1", "conv2")
        ]
        settings: dict[str, Any] = {"activation": "gelu", "norm_first": True}
        self.encoder = nn.TransformerEncoder.from_state_dict(
            stack_arrays(tensors, "encoder"), num_heads=self.heads, **settings
        )
        self.decoder = nn.TransformerDecoder.from_state_dict(
            stack_arrays(tensors, "decoder"), num_heads=self.heads, **settings
        )
        self.sound_places = tensors["encoder/position_encodings/encodings"]
        self.places = tensors["decoder/position_encodings/encodings"]
        self.words = nn.Embedding(tensors["decoder/embeddings/weight"])
        self.last = nn.Linear(self.words.weight)  # tied
        # Signs that are no speech, and two that a text cannot begin with: a space, and its end.
        never, never_first = self.config["suppress_ids"], self.config["suppress_ids_begin"]
        self.hidden = {False: never, True: [*never, *never_first]}

    def encode(self, features: Array) -> Array:
        """Compute the memory: (80, 3000) -> (1500, 384)."""
        x = features.T
        for stride, convolution in enumerate(self.convolutions, 1):
            padded = np.pad(x, ((1, 1), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0)[::stride]
            x = nn.gelu(convolution(windows.reshape(len(windows), -1)))
        return self.encoder(x + self.sound_places)

    def caches(self) -> Caches:
        """Make empty caches."""
        size = {"batch": 1, "kv_heads": self.heads, "head_dim": 64, "dtype": "float32"}
        layers = self.decoder.layers
        return Caches(
            [regard.KVCache(**size, capacity=len(self.places)) for _ in layers],
            [regard.KVCache(**size, capacity=len(self.sound_places)) for _ in layers],
        )

    def embed(self, tokens: list[int], start: int = 0) -> Array:
        """Look up tokens, and the places from `start` on: (tokens, 384)."""
        rows: Array = self.words(np.array(tokens)) + self.places[start : start + len(tokens)]
        return rows

    def logits(self, tokens: list[int], memory: Array | None, caches: Caches, start: int) -> Array:
        """Read more tokens: logits of what follows the last, (51864,).

        The memory is given with the first tokens; from then on it is in its cache.
        """
        x = self.decoder(
            self.embed(tokens, start)[None], None if memory is None else memory[None],
            caches=caches.tokens, memory_caches=caches.memory,
        )  # fmt: skip
        logits: Array = self.last(x[0, -1])
        return logits

    def transcribe(self, features: Array, limit: int = 224) -> list[int]:
        """Write down what is heard, each token the likeliest: numbers of tokens, without END.

        Parameters
        ----------
        features : ndarray, shape (80, 3000)
        limit : int
            Tokens to write at most; Whisper was trained on texts of up to 224.
        """
        memory: Array | None = self.encode(features)
        caches, tokens, written = self.caches(), [START, NO_TIMESTAMPS], list[int]()
        start = 0
        while len(written) < limit:
            logits = self.logits(tokens, memory, caches, start)
            logits[self.hidden[not written]] = -np.inf
            token = int(logits.argmax())
            if token == END:
                break
            start, memory = start + len(tokens), None
            tokens = [token]
            written.append(token)
        return written

    def alignment(self, features: Array, written: list[int]) -> Array:
        """Where each token was heard: mean weights of the heads that follow the sound.

        Parameters
        ----------
        features : ndarray, shape (80, 3000)
        written : list of int
            What `transcribe` returned.

        Returns
        -------
        ndarray, shape (tokens, 1500)
            A row for each token, of the weights with which it was chosen; a column is 20 ms.
        """
        memory = self.encode(features)
        x = self.embed([START, NO_TIMESTAMPS, *written])
        found = []
        for number, layer in enumerate(self.decoder.layers):
            y = x + layer.self_attn(layer.norm1(x), causal=True)
            weights = layer.multihead_attn.weights(layer.norm2(y), memory)
            found += [weights[head] for n, head in self.config["alignment_heads"] if n == number]
            x = layer(x, memory, causal=True)
        mean: Array = np.mean(found, axis=0)
        return mean[1:-1]
