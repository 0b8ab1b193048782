"""A random model of Marian's kind, as a file and as plain float64 formulas that know no layer."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

VOCABULARY, FEATURES, HIDDEN, HEADS = 7, 16, 24, 8


def random_arrays(seed: int) -> dict[str, Array]:
    """Parameters as Marian stores them: matrices are (inputs, outputs), vectors have one row."""
    rng = np.random.default_rng(seed)
    sizes: dict[str, tuple[int, int]] = {"Wemb": (VOCABULARY, FEATURES)}
    sizes["decoder_ff_logit_out_b"] = (1, VOCABULARY)
    square, row = (FEATURES, FEATURES), (1, FEATURES)
    for layer, attention in (("encoder_l1", "self"), ("decoder_l1", "context")):
        sizes |= {f"{layer}_{attention}_W{part}": square for part in "qkvo"}
        sizes |= {f"{layer}_{attention}_b{part}": row for part in "qkvo"}
        sizes |= {f"{layer}_ffn_W1": (FEATURES, HIDDEN), f"{layer}_ffn_b1": (1, HIDDEN)}
        sizes |= {f"{layer}_ffn_W2": (HIDDEN, FEATURES), f"{layer}_ffn_b2": row}
        for norm in (f"{attention}_Wo", "ffn_ffn"):
            sizes |= {f"{layer}_{norm}_ln_scale": row, f"{layer}_{norm}_ln_bias": row}
    sizes |= {"decoder_l1_rnn_W": square, "decoder_l1_rnn_Wf": square, "decoder_l1_rnn_bf": row}
    sizes |= {"decoder_l1_rnn_ffn_ln_scale": row, "decoder_l1_rnn_ffn_ln_bias": row}
    # Small enough for scores whose exponentials float64 has.
    return {
        name: (0.5 * rng.standard_normal(size)).astype(np.float32) for name, size in sizes.items()
    }


def write_arrays(file: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    """Write them, matrices of the decoder's cell in 8 bits; returns what the file then says."""
    headers, names, shapes, content, said = b"", b"", b"", b"", {}
    for name, array in {**arrays, "special:model.yml": np.zeros(5, np.int8)}.items():
        if name.startswith("special"):
            kind, data = 0x101, b"a: b\0"
        elif name.startswith("decoder_l1_rnn_W"):
            rounded = np.clip(np.round(array * 40), -127, 127)
            # By columns, then the multiplier.
            kind, data = 0x4101, rounded.T.astype(np.int8).tobytes() + struct.pack("<f", 40)
            said[name] = (rounded / 40).astype(np.float32)
        else:
            kind, data = 0x404, array.tobytes()
            said[name] = array
        data += bytes(-len(data) % 256)
        spelled = name.encode() + b"\0"
        headers += struct.pack("<4Q", len(spelled), kind, array.ndim, len(data))
        names += spelled
        shapes += np.array(array.shape, "<i4").tobytes()
        content += data
    start = struct.pack("<2Q", 1, len(arrays) + 1) + headers + names + shapes
    file.write_bytes(start + struct.pack("<Q", 24) + bytes(24) + content)
    return said


def log_probability(arrays: dict[str, Array], source: list[int], target: list[int]) -> float:
    """Of a whole translation, END included: every formula written out, one token at a time."""
    w = {name: array.astype(np.float64) for name, array in arrays.items()}
    embed = w["Wemb"]

    def place(n: int) -> Array:
        rates = 10000.0 ** (-np.arange(FEATURES // 2) / (FEATURES // 2 - 1))
        return np.concatenate([np.sin(n * rates), np.cos(n * rates)])

    def norm(x: Array, name: str) -> Array:
        unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        out: Array = unit * w[f"{name}_ln_scale"][0] + w[f"{name}_ln_bias"][0]
        return out

    def attend(x: Array, memory: Array, name: str) -> Array:
        q, k, v = (
            rows @ w[f"{name}_W{part}"] + w[f"{name}_b{part}"][0]
            for rows, part in ((x, "q"), (memory, "k"), (memory, "v"))
        )
        size, heads = FEATURES // HEADS, []
        for h in range(HEADS):
            own = slice(h * size, (h + 1) * size)
            powers = np.exp(q[:, own] @ k[:, own].T / np.sqrt(size))
            heads.append(powers / powers.sum(axis=1, keepdims=True) @ v[:, own])
        mixed = np.concatenate(heads, axis=1) @ w[f"{name}_Wo"] + w[f"{name}_bo"][0]
        return norm(x + mixed, f"{name}_Wo")

    def feed(x: Array, layer: str) -> Array:
        inner = np.maximum(x @ w[f"{layer}_ffn_W1"] + w[f"{layer}_ffn_b1"][0], 0)
        return norm(x + inner @ w[f"{layer}_ffn_W2"] + w[f"{layer}_ffn_b2"][0], f"{layer}_ffn_ffn")

    memory = np.array([embed[t] * FEATURES**0.5 + place(n) for n, t in enumerate(source)])
    memory = feed(attend(memory, memory, "encoder_l1_self"), "encoder_l1")
    cell, before, total = np.zeros(FEATURES), np.zeros(FEATURES), 0.0
    for n, token in enumerate(target):
        x = before + place(n)
        gate = 1 / (1 + np.exp(-(x @ w["decoder_l1_rnn_Wf"] + w["decoder_l1_rnn_bf"][0])))
        cell = gate * cell + (1 - gate) * (x @ w["decoder_l1_rnn_W"])
        x = norm(x + np.maximum(cell, 0), "decoder_l1_rnn_ffn")
        rows = feed(attend(x[np.newaxis], memory, "decoder_l1_context"), "decoder_l1")
        logits = (rows @ embed.T + w["decoder_ff_logit_out_b"])[0]
        total += logits[token] - np.log(np.exp(logits).sum())
        before = embed[token] * FEATURES**0.5
    return total
