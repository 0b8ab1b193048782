"""The model file: CTranslate2's `model.bin`, and its names of weights in torch's.

Version 6 of the format, little-endian: version, name of the kind of model, its revision, number of
tensors; then of each its name, number of dimensions (a byte), dimensions, dtype (a byte), bytes,
and data; then other names of tensors. Numbers are of 4 bytes where nothing else is said, and a name
is its length in 2 bytes, characters, and a zero.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
NORM = {"gamma": "weight", "beta": "bias"}


class _Reader:
    """What stands in the file, from the front."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def number(self, kind: str = "I") -> int:
        (value,) = struct.unpack_from(f"<{kind}", self.content, self.at)
        self.at += struct.calcsize(kind)
        return int(value)

    def bytes(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.content):
            raise struct.error("it ends too early")
        return self.content[self.at - count : self.at]

    def name(self) -> str:
        return self.bytes(self.number("H"))[:-1].decode()


def read_tensors(file: Path) -> dict[str, Array]:
    """Read all tensors of a model file, in the dtypes that they are kept in.

    Raises
    ------
    ValueError
        The file is not of the version, or not of Whisper, or not whole.
    """
    reader = _Reader(file.read_bytes())
    try:
        if (version := reader.number()) != 6:
            raise ValueError(f"{file} has version {version} of the format: this reads version 6")
        if (kind := reader.name()) != "WhisperSpec":
            raise ValueError(f"{file} is a {kind}: this reads a WhisperSpec")
        reader.number()  # the revision: only names that are not used here came with later ones
        tensors = {}
        for _ in range(reader.number()):
            name = reader.name()
            shape = [reader.number() for _ in range(reader.number("B"))]
            dtype = DTYPES[reader.number("B")]
            data = reader.bytes(reader.number())
            tensors[name] = np.frombuffer(data, dtype).reshape(shape)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{file} is not a whole file of CTranslate2: {error}") from error
    return tensors


def stack_arrays(tensors: dict[str, Array], side: str) -> dict[str, Array]:
    """Name the weights of the encoder or decoder as torch's TransformerEncoder or -Decoder does."""

    def linear(theirs: str, ours: str) -> dict[str, Array]:
        return {f"{ours}.{kind}": tensors[f"{theirs}/{kind}"] for kind in ("weight", "bias")}

    def norm(theirs: str, ours: str) -> dict[str, Array]:
        return {f"{ours}.{kind}": tensors[f"{theirs}/{name}"] for name, kind in NORM.items()}

    arrays = norm(f"{side}/layer_norm", "norm")
    layers = sum(name.endswith("ffn/layer_norm/beta") for name in tensors if side in name)
    for number in range(layers):
        theirs, ours = f"{side}/layer_{number}", f"layers.{number}"
        attention = f"{theirs}/self_attention"
        arrays |= norm(f"{attention}/layer_norm", f"{ours}.norm1")
        for kind in ("weight", "bias"):
            arrays[f"{ours}.self_attn.in_proj_{kind}"] = tensors[f"{attention}/linear_0/{kind}"]
        arrays |= linear(f"{attention}/linear_1", f"{ours}.self_attn.out_proj")
        if side == "decoder":
            cross = f"{theirs}/attention"
            arrays |= norm(f"{cross}/layer_norm", f"{ours}.norm2")
            for kind in ("weight", "bias"):  # queries, then keys and values together
                parts = [tensors[f"{cross}/linear_{n}/{kind}"] for n in (0, 1)]
                arrays[f"{ours}.multihead_attn.in_proj_{kind}"] = np.concatenate(parts)
            arrays |= linear(f"{cross}/linear_2", f"{ours}.multihead_attn.out_proj")
        last = "norm3" if side == "decoder" else "norm2"
        arrays |= norm(f"{theirs}/ffn/layer_norm", f"{ours}.{last}")
        arrays |= linear(f"{theirs}/ffn/linear_0", f"{ours}.linear1")
        arrays |= linear(f"{theirs}/ffn/linear_1", f"{ours}.linear2")
    return arrays
