"""SmolLM2 by programs that share no code with the example that is tested.

The tokenizer merges pairs in plain Python. The decoder is float64 NumPy without a cache: one
forward pass over all tokens, every score in memory. It takes the rows of Wq and Wk back into the
order of Hugging Face's weights, and rotates feature n with feature n + 32, as Hugging Face does.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LAYERS, HEADS, KV_HEADS, DIM, BASE, EPSILON = 30, 9, 3, 64, 100_000.0, 1e-5


def read_weights(file: Path) -> dict[str, Array]:
    import gguf

    return {
        tensor.name.removesuffix(".weight"): gguf.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(file).tensors
    }


def read_field(file: Path, name: str) -> Any:
    import gguf

    return gguf.GGUFReader(file).fields[name].contents()


def decoder_logits(weights: dict[str, Array], tokens: list[int]) -> Array:
    """Logits behind each of the tokens: (tokens, vocabulary), in float64."""

    def norm(x: Array, weight: Array) -> Array:
        y: Array = weight * x * (np.sum(x * x, axis=1) / x.shape[1] + EPSILON)[:, None] ** -0.5
        return y

    def unpermuted(weight: Array, heads: int) -> Array:
        y: Array = weight.reshape(heads, DIM // 2, 2, -1).transpose(0, 2, 1, 3)
        return y.reshape(weight.shape)

    def rotated(x: Array) -> Array:  # (heads, tokens, DIM)
        angle = np.outer(np.arange(x.shape[1]), BASE ** (-np.arange(DIM // 2) / (DIM // 2)))
        z = (x[..., : DIM // 2] + 1j * x[..., DIM // 2 :]) * np.exp(1j * angle)
        return np.concatenate([z.real, z.imag], axis=-1)

    def heads_of(x: Array, weight: Array) -> Array:
        y: Array = (weight.reshape(-1, DIM, weight.shape[1]) @ x.T).transpose(0, 2, 1)
        return y

    hidden = weights["token_embd"][tokens].astype(np.float64)
    past = np.tri(len(tokens), dtype=bool)
    for i in range(LAYERS):
        block = f"blk.{i}."
        w = {
            name.removeprefix(block): weight.astype(np.float64)
            for name, weight in weights.items()
            if name.startswith(block)
        }
        x = norm(hidden, w["attn_norm"])
        q = rotated(heads_of(x, unpermuted(w["attn_q"], HEADS)))
        k = rotated(heads_of(x, unpermuted(w["attn_k"], KV_HEADS)))
        v = heads_of(x, w["attn_v"])
        for h in range(HEADS):
            shared = h // (HEADS // KV_HEADS)
            p = np.where(past, np.exp(q[h] @ k[shared].T / 8), 0)
            o = (p / p.sum(axis=1)[:, None]) @ v[shared]
            hidden = hidden + o @ w["attn_output"][:, h * DIM : (h + 1) * DIM].T
        x = norm(hidden, w["ffn_norm"])
        gate = x @ w["ffn_gate"].T
        gate *= 0.5 * (1 + np.tanh(gate / 2))  # gate * sigmoid(gate)
        hidden = hidden + (gate * (x @ w["ffn_up"].T)) @ w["ffn_down"].T
    logits: Array = norm(hidden, weights["output_norm"]) @ weights["token_embd"].T.astype(
        np.float64
    )
    return logits


class BytePairs:
    """Text to token numbers, for text without control tokens."""

    def __init__(self, tokens: list[str], merges: list[str]) -> None:
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self.numbers = {token: number for number, token in enumerate(tokens)}

    def encode(self, text: str) -> list[int]:
        return [self.numbers[part] for piece in pieces(text) for part in self.merged(piece)]

    def merged(self, piece: str) -> list[str]:
        parts = [BYTES[byte] for byte in piece.encode()]
        while True:
            pairs = [pair for pair in itertools.pairwise(parts) if pair in self.ranks]
            if not pairs:
                return parts
            best = min(pairs, key=self.ranks.__getitem__)
            i, joined = 0, []
            while i < len(parts):
                width = 2 if tuple(parts[i : i + 2]) == best else 1
                joined.append("".join(parts[i : i + width]))
                i += width
            parts = joined


def pieces(text: str) -> list[str]:
    """Split into single digits, and what GPT-2's expression finds between them.

    Its classes of characters are not in the standard library's regular expressions, so these look
    at a text in which letters are a, and what is neither letter, number nor space is a dot.
    """
    found: list[str] = []
    for numbers, group in itertools.groupby(text, is_number):
        part = list(group)
        found += part if numbers else gpt2_pieces("".join(part))
    return found


def gpt2_pieces(text: str) -> list[str]:
    """Split a text without numbers."""
    kinds = "".join(kind(c) for c in text)
    found, i = [], 0
    while i < len(text):
        match = re.compile("'s|'t|'re|'ve|'m|'ll|'d").match(text, i) or re.compile(
            r" ?a+| ?\.+|[ \n]+(?![a.])|[ \n]+"
        ).match(kinds, i)
        assert match
        found.append(text[i : match.end()])
        i = match.end()
    return found


def is_number(character: str) -> bool:
    return unicodedata.category(character).startswith("N")


def kind(character: str) -> str:
    if character == " ":
        return " "
    if character.isspace():
        return "\n"
    return "a" if unicodedata.category(character).startswith("L") else "."


def byte_alphabet() -> list[str]:
    """GPT-2's character for each byte: itself where it can be printed."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printed else chr(next(others)) for byte in range(256)]


BYTES = byte_alphabet()
