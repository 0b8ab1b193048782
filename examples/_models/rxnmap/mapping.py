"""From attention to a mapping: which atom of the reactants each atom of the products was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from .bonds import Bonds
from .tokens import Indices, Tokens
from .weights import Array

# How much likelier an atom is beside one that is mapped: what the package takes.
FAVOUR = 1.75


def scores(attention: Array, tokens: Tokens) -> Array:
    """Add what products attend to in reactants and the other way round.

    Parameters
    ----------
    attention : ndarray, shape (S, S)
    tokens : Tokens

    Returns
    -------
    ndarray, shape (product atoms, reactant atoms)
        0 between atoms of different elements.
    """
    reactants, products = tokens.reactants, tokens.products
    both = attention + attention.T
    same = tokens.atoms[products][:, np.newaxis] == tokens.atoms[reactants]
    return np.where(same, both[np.ix_(products, reactants)], 0)


def assign(weights: Array, reactant_bonds: Bonds, product_bonds: Bonds) -> Indices:
    """Take the largest score, and go on from there along the bonds.

    As long as a product atom beside a mapped one is left, it is one of those, else any. Where two
    atoms are mapped to each other, the scores between their neighbours grow by `FAVOUR`: bonds
    mostly last.

    Parameters
    ----------
    weights : ndarray, shape (product atoms, reactant atoms)
    reactant_bonds, product_bonds : ndarray of bool
        Which atoms are bonded.

    Returns
    -------
    ndarray of int64, shape (product atoms,)
        The reactant atom of each; -1 where none is left.
    """
    left = weights.copy()
    found = np.full(len(left), -1)
    beside = np.zeros(len(left), bool)
    for _ in found:
        rows = np.flatnonzero(beside) if beside.any() else np.arange(len(left))
        best, column = np.unravel_index(left[rows].argmax(), (len(rows), left.shape[1]))
        row = rows[best]
        if left[row, column] <= 1e-8:
            break
        found[row] = column
        left[np.ix_(product_bonds[row], reactant_bonds[column])] *= FAVOUR
        left[row] = left[:, column] = 0
        beside = (beside | product_bonds[row]) & (found < 0)
    return found


def number(reaction: Any, found: Indices) -> Any:
    """Give atoms of a reaction of chython's numbers, equal ones for one atom before and after."""
    reaction = reaction.copy()
    numbers = count(1)
    before = [_renumber(molecule, numbers) for molecule in reaction.reactants]
    before = [n for molecule in before for n in molecule]
    after = iter([before[n] if n >= 0 else next(numbers) for n in found])
    for molecule in reaction.products:
        _renumber(molecule, after)
    for molecule in reaction.reagents:
        _renumber(molecule, numbers)
    reaction.flush_cache()
    return reaction


def _renumber(molecule: Any, numbers: Iterator[int]) -> list[int]:
    new = {old: next(numbers) for old in molecule}
    molecule.remap(new)
    return list(new.values())


def numbered(reaction: Any) -> Indices:
    """Read the mapping of a reaction of chython's from its numbers: what `number` wrote."""
    before = [n for molecule in reaction.reactants for n in molecule]
    places = {n: place for place, n in enumerate(before)}
    return np.array([places.get(n, -1) for molecule in reaction.products for n in molecule])
