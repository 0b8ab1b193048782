"""Images cut into patches, and where those are: the tokens of a vision transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard

Array = NDArray[Any]

# About those of the pixels of handwritten digits: a patch is then as loud as its position.
MEAN, DEVIATION = np.float32(0.2), np.float32(0.33)


def patches(images: Array, window: int, stride: int) -> Array:
    """Cut images (count, height, width) into squares, row by row: (count, tokens, window²).

    Squares overlap where the stride is less than the window.
    """
    cut = np.lib.stride_tricks.sliding_window_view(images, (window, window), axis=(1, 2))
    cut = cut[:, ::stride, ::stride]
    return (cut.reshape(len(images), -1, window * window) - MEAN) / DEVIATION


def grid_positions(height: int, width: int, features: int) -> Array:
    """Sinusoidal positions (height * width, features): half are of the row, half of the column.

    The base is 100 rather than 10000, since there are few rows.
    """
    half = features // 2
    rows = regard.positions.sinusoidal(height, half, base=100.0)
    columns = regard.positions.sinusoidal(width, half, base=100.0)
    both = [np.repeat(rows, width, axis=0), np.tile(columns, (height, 1))]
    positions: Array = np.concatenate(both, axis=1).astype(np.float32)
    return positions
