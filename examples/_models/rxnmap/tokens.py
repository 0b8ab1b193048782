"""The atoms of a reaction as the model's tokens.

They stand in one row: one for the reaction, then for each molecule one for itself and its atoms,
reactants before products. Atoms and hydrogens of SMILES are chython's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Roles of tokens.
MOLECULE, REACTION, REACTANT, PRODUCT = range(4)
# Rows of the table of distances; there, two more stand in front of those of the atoms.
APART, TO_MOLECULE = 0, 1
FARTHEST, MOST_NEIGHBORS = 10, 14


@dataclass(frozen=True)
class Tokens:
    """Rows of the model's tables, for the S tokens of a reaction.

    Attributes
    ----------
    atoms : ndarray of int64, shape (S,)
        Atomic number + 2; 1 for a molecule, 0 for the reaction.
    neighbors : ndarray of int64, shape (S,)
        Atoms that it is bonded to, hydrogens too, + 2; 0 for a molecule or the reaction.
    roles : ndarray of int64, shape (S,)
    distances : tuple of ndarray of int64
        Of the reaction's token, (1, 1), and of each molecule's: bonds between two atoms + 2, 1 from
        the molecule's own token and to it.
    """

    atoms: Indices
    neighbors: Indices
    roles: Indices
    distances: tuple[Indices, ...]

    @property
    def reactants(self) -> Indices:
        """Where the atoms of the reactants are."""
        return np.flatnonzero(self.roles == REACTANT)

    @property
    def products(self) -> Indices:
        """Where the atoms of the products are."""
        return np.flatnonzero(self.roles == PRODUCT)


def molecule_distances(bonds: NDArray[np.bool_]) -> Indices:
    """Count bonds on the shortest way between atoms, and put the molecule's token in front.

    Parameters
    ----------
    bonds : ndarray of bool, shape (atoms, atoms)

    Returns
    -------
    ndarray of int64, shape (atoms + 1, atoms + 1)
    """
    from scipy.sparse.csgraph import shortest_path

    steps = shortest_path(bonds, directed=False, unweighted=True)
    distances = np.full((len(bonds) + 1, len(bonds) + 1), TO_MOLECULE)
    distances[1:, 1:] = np.minimum(steps, FARTHEST) + 2
    return distances


def tokenize(reaction: Any) -> Tokens:
    """Make the tokens of a reaction of chython's; its reagents take no part.

    Raises
    ------
    ValueError
        It has no reactants or no products.
    """
    if not reaction.reactants or not reaction.products:
        raise ValueError(f"{reaction}: a reaction needs reactants and products")
    atoms, neighbors, roles = [0], [0], [REACTION]
    distances = [np.full((1, 1), TO_MOLECULE)]
    for role, molecules in ((REACTANT, reaction.reactants), (PRODUCT, reaction.products)):
        for molecule in molecules:
            bonds = molecule.adjacency_matrix().astype(bool)
            atoms += [1, *(atom.atomic_number + 2 for _, atom in molecule.atoms())]
            around = bonds.sum(axis=1) + [a.implicit_hydrogens or 0 for _, a in molecule.atoms()]
            neighbors += [0, *(np.minimum(around, MOST_NEIGHBORS) + 2)]
            roles += [MOLECULE, *(role for _ in molecule.atoms())]
            distances.append(molecule_distances(bonds))
    return Tokens(np.array(atoms), np.array(neighbors), np.array(roles), tuple(distances))
