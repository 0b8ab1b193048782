"""The model: 6 layers of encoder, 2 of decoder, whose self attention is a recurrent cell (SSRU).

"From Research to Production and Back: Ludicrously Fast Neural Machine Translation" (Kim et al.,
2019). With x the input of a layer, f = sigmoid(W_f x + b_f):

    c = f * c + (1 - f) * W x        the cell, one for each feature
    x = norm(x + relu(c))
    x = norm(x + attention(x, memory))
    x = norm(x + feed_forward(x))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard import KVCache, nn
from regard.positions import sinusoidal

from .weights import Array

HEADS = 8
EPS = 1e-6  # of Marian's norms
END = 0  # the token </s>


@dataclass
class DecoderLayer:
    """One layer of the decoder; at a time, it sees one token of each hypothesis."""

    inputs: nn.Linear
    forget: nn.Linear
    norm1: nn.LayerNorm
    cross: nn.MultiHeadAttention
    norm2: nn.LayerNorm
    feed_forward: nn.FeedForward
    norm3: nn.LayerNorm

    def recur(self, x: Array, cell: Array) -> tuple[Array, Array]:
        """Take one step of the cell; returns the layer's sum, normalised, and the new cell."""
        gate = nn.sigmoid(self.forget(x))
        cell = gate * cell + (1 - gate) * self.inputs(x)
        return self.norm1(x + nn.relu(cell)), cell

    def __call__(self, x: Array, cell: Array, memory: KVCache) -> tuple[Array, Array]:
        """Compute x (sentences, hypotheses, features), and the new cell of that shape.

        All hypotheses of a sentence are queries to its one memory.
        """
        x, cell = self.recur(x, cell)
        x = self.norm2(x + self.cross.attend(x, memory))
        return self.norm3(x + self.feed_forward(x)), cell


@dataclass
class Memory:
    """What the decoder attends to: keys and values of all source tokens, for each layer."""

    lengths: list[int]
    caches: list[KVCache]


class Marian:
    """A translation model of Marian's, with tied embeddings and post-norm.

    Parameters
    ----------
    arrays : dict of str to ndarray
        As `read_arrays` gives them.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.embeddings = arrays["Wemb"]
        self.bias = arrays["decoder_ff_logit_out_b"].ravel()
        self.features = self.embeddings.shape[1]
        layers = sum(name.endswith("self_Wo") for name in arrays)
        state: dict[str, Array] = {}
        for n in range(layers):
            old, new = f"encoder_l{n + 1}_", f"layers.{n}."
            state |= {
                f"{new}self_attn.{k}": x for k, x in _attention(arrays, f"{old}self_").items()
            }
            state |= {new + k: x for k, x in _feed_forward(arrays, old).items()}
            for number, norm in (("1", "self_Wo"), ("2", "ffn_ffn")):
                state |= {f"{new}norm{number}.{k}": x for k, x in _norm(arrays, old + norm).items()}
        self.encoder = nn.TransformerEncoder.from_state_dict(state, num_heads=HEADS, eps=EPS)
        layers = sum(name.endswith("rnn_Wf") for name in arrays)
        self.decoder = [_decoder_layer(arrays, f"decoder_l{n + 1}_") for n in range(layers)]

    def embed(self, tokens: NDArray[np.int64], positions: NDArray[np.int64]) -> Array:
        """Look up tokens and places; Marian has all sines in front of all cosines."""
        half = self.features // 2
        # Its frequencies end at 1 / 10000, where those of the paper end one step before.
        base = 10000.0 ** (half / (half - 1))
        waves = sinusoidal(int(positions.max()) + 1, self.features, base)[positions]
        places = np.concatenate([waves[..., 0::2], waves[..., 1::2]], axis=-1)
        out: Array = (self.embeddings[tokens] * self.features**0.5 + places).astype(np.float32)
        return out

    def encode(self, sources: list[list[int]]) -> list[Array]:
        """Encode sentences, each with its END, on packed rows: nothing is padded."""
        tokens, offsets = nn.pack([np.array(source) for source in sources])
        places = np.concatenate([np.arange(len(source)) for source in sources])
        return nn.unpack(self.encoder(self.embed(tokens, places), offsets=offsets), offsets)

    def remember(self, encoded: list[Array]) -> Memory:
        """Compute keys and values of the encoded sentences for each layer of the decoder."""
        lengths = [len(rows) for rows in encoded]
        padded = np.zeros((len(encoded), max(lengths), self.features), np.float32)
        for n, rows in enumerate(encoded):
            padded[n, : len(rows)] = rows
        caches = []
        for layer in self.decoder:
            _, key, value = layer.cross.project(padded)
            cache = KVCache(len(encoded), HEADS, key.shape[-1], max(lengths), "float32")
            cache.append(key, value, lengths=lengths, layout="BSHD")
            caches.append(cache)
        return Memory(lengths, caches)

    def step(
        self, tokens: NDArray[np.int64] | None, cells: Array, position: int, memory: Memory
    ) -> tuple[Array, Array]:
        """Read one more token of each hypothesis.

        Parameters
        ----------
        tokens : ndarray of int64, shape (sentences, hypotheses), or None
            None at the beginning, where Marian has zeros in place of an embedding.
        cells : ndarray, shape (layers, sentences, hypotheses, features)
        position : int
            Tokens before this one.
        memory : Memory

        Returns
        -------
        x : ndarray, shape (sentences, hypotheses, features)
        cells : ndarray
        """
        x = self.target(tokens, cells.shape[1:3], position)
        after = np.empty_like(cells)
        for n, layer in enumerate(self.decoder):
            x, after[n] = layer(x, cells[n], memory.caches[n])
        return x, after

    def target(
        self, tokens: NDArray[np.int64] | None, shape: tuple[int, ...], position: int
    ) -> Array:
        """Embed the tokens of one position."""
        x = self.embed(np.zeros(shape, np.int64) if tokens is None else tokens, np.array(position))
        if tokens is None:
            x -= self.embeddings[0] * np.float32(self.features**0.5)
        return x

    def output(self, words: NDArray[np.int64]) -> nn.Linear:
        """Give the layer that scores some words of the vocabulary, features to words."""
        return nn.Linear(self.embeddings[words], self.bias[words])

    def alignment(self, source: list[int], target: list[int]) -> Array:
        """How each target token reads the source: weights of the decoder's last layer.

        Returns
        -------
        ndarray, shape (heads, target, source)
            Row n is of the step that writes token n.
        """
        (memory,) = self.encode([source])
        caches = self.remember([memory]).caches
        cells = np.zeros((len(self.decoder), 1, 1, self.features), np.float32)
        rows = []
        for n in range(len(target)):
            before = np.array([[target[n - 1]]]) if n else None
            x = self.target(before, (1, 1), n)
            for number, layer in enumerate(self.decoder):
                if layer is self.decoder[-1]:
                    inner, _ = layer.recur(x, cells[number])
                    rows.append(layer.cross.weights(inner, memory[np.newaxis])[0])
                x, cells[number] = layer(x, cells[number], caches[number])
        return np.concatenate(rows, axis=1)


def _attention(arrays: dict[str, Any], prefix: str) -> dict[str, Array]:
    return {
        "in_proj_weight": np.concatenate([arrays[f"{prefix}W{part}"] for part in "qkv"]),
        "in_proj_bias": np.concatenate([arrays[f"{prefix}b{part}"].ravel() for part in "qkv"]),
        "out_proj.weight": arrays[f"{prefix}Wo"],
        "out_proj.bias": arrays[f"{prefix}bo"].ravel(),
    }


def _feed_forward(arrays: dict[str, Any], prefix: str) -> dict[str, Array]:
    return {
        f"linear{n}.{name}": np.squeeze(arrays[f"{prefix}ffn_{letter}{n}"])
        for n in "12"
        for name, letter in (("weight", "W"), ("bias", "b"))
    }


def _norm(arrays: dict[str, Any], prefix: str) -> dict[str, Array]:
    return {
        "weight": arrays[f"{prefix}_ln_scale"].ravel(),
        "bias": arrays[f"{prefix}_ln_bias"].ravel(),
    }


def _decoder_layer(arrays: dict[str, Any], prefix: str) -> DecoderLayer:
    norms = [
        nn.LayerNorm.from_state_dict(_norm(arrays, prefix + name), eps=EPS)
        for name in ("rnn_ffn", "context_Wo", "ffn_ffn")
    ]
    cross = _attention(arrays, f"{prefix}context_")
    return DecoderLayer(
        nn.Linear(arrays[f"{prefix}rnn_W"], None),
        nn.Linear(arrays[f"{prefix}rnn_Wf"], arrays[f"{prefix}rnn_bf"].ravel()),
        norms[0],
        nn.MultiHeadAttention.from_state_dict(cross, num_heads=HEADS),
        norms[1],
        nn.FeedForward.from_state_dict(_feed_forward(arrays, prefix), activation="relu"),
        norms[2],
    )
