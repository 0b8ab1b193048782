"""The bonds of each side of a reaction, and which of them a mapping makes and breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tokens import Indices

Bonds = NDArray[np.bool_]
Pairs = list[tuple[int, int]]


def bonds_of(molecules: Sequence[Any]) -> Bonds:
    """Tell which atoms of one side are bonded, numbered through its molecules.

    Parameters
    ----------
    molecules : sequence of chython's molecules

    Returns
    -------
    ndarray of bool, shape (atoms, atoms)
    """
    from scipy.linalg import block_diag

    return block_diag(*(molecule.adjacency_matrix() for molecule in molecules)).astype(bool)


def made_and_broken(before: Bonds, after: Bonds, found: Indices) -> tuple[Pairs, Pairs]:
    """Tell which bonds there are on one side only; hydrogens do not count.

    Parameters
    ----------
    before, after : ndarray of bool
        Of the reactants and of the products.
    found : ndarray of int64, shape (product atoms,)
        The reactant atom of each product atom, or -1.

    Returns
    -------
    made : list of tuple of int
        Pairs of product atoms.
    broken : list of tuple of int
        Pairs of reactant atoms, one of which at least is in the products.
    """
    back = np.full(len(before), -1)
    back[found[found >= 0]] = np.flatnonzero(found >= 0)
    made = _only(after, before, found)
    broken = [(i, j) for i, j in _only(before, after, back) if back[i] >= 0 or back[j] >= 0]
    return made, broken


def _only(here: Bonds, there: Bonds, image: Indices) -> Pairs:
    """Pairs bonded here whose images are not bonded there."""
    kept = there[np.ix_(image, image)] & (image >= 0) & (image >= 0)[:, np.newaxis]
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(here & ~kept))]
