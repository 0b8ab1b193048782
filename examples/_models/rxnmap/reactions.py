"""Fifty reactions of the textbooks, with their names, and chython, which reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from _models.packages import package_folder

from .bonds import Bonds, Pairs, bonds_of, made_and_broken
from .mapping import assign, number, scores
from .tokens import Indices, Tokens, tokenize
from .weights import Array

INSTALL = "pip install --no-deps chython==2.18 && pip install lazy-object-proxy scipy"


@dataclass(frozen=True)
class Reaction:
    """A reaction, and what is computed from it.

    Attributes
    ----------
    name : str
    smiles : str
        Reactants, reagents and products, with > between them.
    """

    name: str
    smiles: str

    @cached_property
    def read(self) -> Any:
        """The reaction as chython has it."""
        for package in ("chython", "lazy_object_proxy", "scipy"):
            package_folder(package, INSTALL)
        from chython import ReactionContainer, smiles

        reaction = smiles(self.smiles)
        if not isinstance(reaction, ReactionContainer):
            raise ValueError(f"{self.smiles}: this is a molecule; a reaction has > > in it")
        return reaction

    @cached_property
    def tokens(self) -> Tokens:
        """What the model reads."""
        return tokenize(self.read)

    @cached_property
    def bonds(self) -> tuple[Bonds, Bonds]:
        """Those of the reactants and of the products."""
        return bonds_of(self.read.reactants), bonds_of(self.read.products)

    @property
    def symbols(self) -> tuple[list[str], list[str]]:
        """Elements of the atoms of the reactants and of the products."""
        before, after = (
            [atom.atomic_symbol for molecule in side for _, atom in molecule.atoms()]
            for side in (self.read.reactants, self.read.products)
        )
        return before, after

    def scores(self, attention: Array) -> Array:
        """Return the scores (product atoms, reactant atoms) of an attention (S, S)."""
        return scores(attention, self.tokens)

    def mapping(self, attention: Array) -> Indices:
        """Find the reactant atom of each product atom."""
        return assign(self.scores(attention), *self.bonds)

    def changes(self, found: Indices) -> tuple[Pairs, Pairs]:
        """Tell which bonds are made, between product atoms, and broken, between reactant atoms."""
        return made_and_broken(*self.bonds, found)

    def mapped(self, found: Indices) -> str:
        """Write the SMILES with equal numbers for an atom before and after."""
        return format(number(self.read, found), "m")


def textbook() -> list[Reaction]:
    """Return the reactions of reactions.tsv."""
    text = Path(__file__).with_name("reactions.tsv").read_text("utf-8")
    return [Reaction(*line.split("\t")) for line in text.splitlines()]
