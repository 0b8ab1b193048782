"""Marian's files: named arrays of float32 or 8-bit integers, and lists of likely words.

The arrays' file has, all little-endian: a version and a count; for each array the length of its
name, its type, and the lengths of its shape and its data; then all names, all shapes, and, aligned,
all data.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]

VERSION = 1
FLOAT32, INT8_BY_COLUMNS, TEXT = 0x404, 0x4101, 0x101
SHORTLIST = 0xF11A48D5013417F5  # how such a file begins


def read_arrays(file: Path) -> dict[str, Array]:
    """Read the parameters of a model.

    Parameters
    ----------
    file : Path
        Such as ``model.enpt.intgemm.alphas.bin``.

    Returns
    -------
    dict of str to ndarray of float32
        Matrices as layers of `regard.nn` have them, (outputs, inputs); "Wemb" is (vocabulary,
        features). Integers are divided by their multiplier, the float behind them.

    Raises
    ------
    ValueError
        It is no such file, or has arrays of another type.
    """
    data = file.read_bytes()
    if len(data) < 16 or int.from_bytes(data[:8], "little") != VERSION:
        raise ValueError(f"{file.name} is no file of Marian's, version {VERSION}.")
    count = int.from_bytes(data[8:16], "little")
    headers = np.frombuffer(data, "<u8", 4 * count, 16).reshape(count, 4).astype(int)
    name_sizes, types, ranks, sizes = headers.T.tolist()
    at = 16 + headers.size * 8
    names = [data[at + a : at + b].rstrip(b"\0").decode() for a, b in _spans(name_sizes)]
    at += sum(name_sizes)
    dims = [np.frombuffer(data, "<i4", rank, at + 4 * a) for (a, _), rank in
            zip(_spans(ranks), ranks, strict=True)]  # fmt: skip
    at += 4 * sum(ranks)
    at += 8 + int.from_bytes(data[at : at + 8], "little")  # up to the alignment
    arrays = {}
    for name, kind, shape, (a, b) in zip(names, types, dims, _spans(sizes), strict=True):
        if kind != TEXT:
            arrays[name] = _array(data[at + a : at + b], name, kind, shape.tolist())
    return arrays


def read_shortlist(file: Path) -> Shortlist:
    """Read which target words each source word makes likely, ``lex.*.bin``.

    Raises
    ------
    ValueError
        It is no such file.
    """
    data = file.read_bytes()
    magic, _, first, _, starts, words = np.frombuffer(data, "<u8", 6).tolist()
    if magic != SHORTLIST:
        raise ValueError(f"{file.name} is no shortlist of Marian's.")
    ends = np.frombuffer(data, "<u8", starts, 48).astype(np.int64)
    return Shortlist(first, ends, np.frombuffer(data, "<u4", words, 48 + 8 * starts))


class Shortlist:
    """Which target words are tried for a sentence.

    Parameters
    ----------
    first : int
        How many words of the vocabulary, the most frequent, are always tried.
    starts : ndarray of int64, shape (vocabulary + 1,)
        Where the list of each source word begins, and the last one ends.
    words : ndarray of uint32
        The lists, one behind the other.
    """

    def __init__(self, first: int, starts: NDArray[np.int64], words: NDArray[Any]) -> None:
        self.first, self.starts, self.words = first, starts, words

    def __call__(self, source: list[int]) -> NDArray[np.int64]:
        """Target words for a sentence, in ascending order.

        Marian's products take eight columns at a time, so it fills the last eight up by the words
        that follow the first ones.
        """
        chosen = set(range(self.first))
        for word in source:
            chosen.update(self.words[self.starts[word] : self.starts[word + 1]].tolist())
        following = self.first
        while len(chosen) % 8:
            chosen.add(following)
            following += 1
        return np.array(sorted(chosen), np.int64)


def _spans(sizes: list[int]) -> list[tuple[int, int]]:
    ends = list(accumulate(sizes))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _array(data: bytes, name: str, kind: int, shape: list[int]) -> Array:
    count = int(np.prod(shape))
    matrix = min(shape) > 1
    if kind == FLOAT32:
        numbers = np.frombuffer(data, "<f4", count).reshape(shape)
        return np.ascontiguousarray(numbers.T) if matrix and name != "Wemb" else numbers
    if kind == INT8_BY_COLUMNS:
        multiplier = np.frombuffer(data, "<f4", 1, count)
        numbers = np.frombuffer(data, np.int8, count).astype(np.float32) / multiplier
        rounded: Array = numbers.reshape(shape if name == "Wemb" else shape[::-1])
        return rounded
    raise ValueError(f"{name} is of type {kind:#x}; only float32 and 8-bit integers are read.")
