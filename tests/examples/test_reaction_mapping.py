"""Mapping of reactions: attention by onnxruntime, mapping by chython, and each step by hand."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import reaction_mapping as example
from _models.rxnmap.mapping import assign, scores
from _models.rxnmap.tokens import MOLECULE, PRODUCT, REACTANT, REACTION, Tokens

ESTER = "CC(=O)O.OCC>>CC(=O)OCC.O"


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def chain(atoms: int) -> Any:
    """Bonds of atoms in a row."""
    return np.eye(atoms, k=1, dtype=bool) | np.eye(atoms, k=-1, dtype=bool)


def reaction(smiles: str) -> Any:
    need("chython", "scipy")
    from _models.rxnmap.reactions import Reaction

    return Reaction("", smiles)


def test_tokens_are_those_of_the_paper() -> None:
    tokens = reaction("O.CC[O-]>[Na+]>CC=O").tokens
    assert tokens.roles.tolist() == [
        REACTION, MOLECULE, REACTANT, MOLECULE, *[REACTANT] * 3, MOLECULE, *[PRODUCT] * 3,
    ]  # fmt: skip
    assert tokens.atoms.tolist() == [0, 1, 10, 1, 8, 8, 10, 1, 8, 8, 10]
    # Water has two hydrogens, methyl three and a carbon beside it ...
    assert tokens.neighbors.tolist() == [0, 0, 4, 0, 6, 6, 3, 0, 6, 5, 3]
    assert [piece.tolist() for piece in tokens.distances[:3]] == [
        [[1]], [[1, 1], [1, 2]], [[1, 1, 1, 1], [1, 2, 3, 4], [1, 3, 2, 3], [1, 4, 3, 2]],
    ]  # fmt: skip
    assert tokens.reactants.tolist() == [2, 4, 5, 6]
    assert tokens.products.tolist() == [8, 9, 10]


def test_long_ways_are_cut_short() -> None:
    long = reaction("CCCCCCCCCCCCCC>>C").tokens.distances[1]
    assert long[1].tolist() == [1, *range(2, 12), 12, 12, 12, 12]


@pytest.mark.parametrize("smiles", [">>C", "C>>"])
def test_half_a_reaction_is_refused(smiles: str) -> None:
    with pytest.raises(ValueError, match="needs reactants and products"):
        reaction(smiles).tokens  # noqa: B018


def test_a_molecule_is_refused() -> None:
    with pytest.raises(ValueError, match="this is a molecule"):
        reaction("CCO").tokens  # noqa: B018


def test_scores_count_both_directions_between_atoms_of_one_element() -> None:
    roles = np.array([REACTION, MOLECULE, REACTANT, REACTANT, MOLECULE, PRODUCT])
    tokens = Tokens(np.array([0, 1, 8, 10, 1, 8]), np.zeros(6, int), roles, ())
    attention = np.arange(36.0).reshape(6, 6)
    assert scores(attention, tokens).tolist() == [[attention[2, 5] + attention[5, 2], 0]]


def test_assign_goes_along_bonds() -> None:
    weights = np.array([[0.9, 0.1, 0.1], [0.1, 0.3, 0.4], [0.1, 0.2, 0.2]])
    # 0.3 * 1.75 beats 0.4, since atom 1 is bonded to atom 0 on both sides ...
    assert assign(weights, chain(3), chain(3)).tolist() == [0, 1, 2]
    # ... and does not without the bond.
    assert assign(weights, np.zeros((3, 3), bool), chain(3)).tolist() == [0, 2, 1]
    assert weights[0, 0] == 0.9  # as it was given


def test_assign_takes_neighbours_before_larger_scores_elsewhere() -> None:
    weights = np.array([[0.9, 0, 0], [0, 0.2, 0.3], [0, 0.5, 0.6]])
    bonds = np.zeros((3, 3), bool)
    bonds[0, 1] = bonds[1, 0] = True
    assert assign(weights, np.zeros((3, 3), bool), bonds).tolist() == [0, 2, 1]


def test_assign_leaves_what_has_no_counterpart() -> None:
    weights = np.array([[0.5, 0.4], [0.3, 0.2], [0.0, 0.0]])
    assert assign(weights, chain(2), np.zeros((3, 3), bool)).tolist() == [0, 1, -1]


def test_numbers_are_written_and_read_and_bonds_told() -> None:
    from_hydroxyl = np.array([0, 1, 2, 4, 5, 6, 3])  # the alcohol keeps its oxygen
    ester = reaction(ESTER)
    from _models.rxnmap.mapping import number, numbered

    assert numbered(number(ester.read, from_hydroxyl)).tolist() == from_hydroxyl.tolist()

    made, broken = ester.changes(from_hydroxyl)
    assert (made, broken) == ([(1, 3)], [(1, 3)])
    from_acid = np.array([0, 1, 2, 3, 5, 6, 4])
    assert ester.changes(from_acid) == ([(3, 4)], [(4, 5)])
    nowhere = np.array([0, 1, 2, -1, 5, 6, 3])
    assert ester.changes(nowhere) == ([(1, 3), (3, 4)], [(1, 3), (4, 5)])


def test_alike_allows_only_what_the_model_cannot_see() -> None:
    need("networkx")
    toluene = reaction("Cc1ccccc1>>Cc1ccccc1")
    from _models.rxnmap.compare import alike

    same = np.arange(7)
    mirrored = np.array([0, 1, 6, 5, 4, 3, 2])
    crossed = np.array([0, 1, 2, 3, 4, 6, 5])  # the ring is torn
    assert alike(toluene.tokens, toluene.bonds, same, mirrored)
    assert not alike(toluene.tokens, toluene.bonds, same, crossed)
    assert not alike(toluene.tokens, toluene.bonds, same, np.array([0, 1, 2, 3, 4, 5, -1]))
    # Both oxygens of acetic acid have one bond, but only one has a hydrogen.
    ester = reaction(ESTER)
    keeps, swaps = np.array([0, 1, 2, 4, 5, 6, 3]), np.array([0, 1, 3, 4, 5, 6, 2])
    assert not alike(ester.tokens, ester.bonds, keeps, swaps)


@pytest.fixture(scope="module")
def mapped() -> tuple[list[Any], list[Any]]:
    """A few reactions of the textbooks, and regard's attention."""
    need("chython", "chython_rxnmap", "onnx", "onnxruntime", "networkx", "scipy")
    from _models.rxnmap.model import ReactionModel
    from _models.rxnmap.reactions import textbook

    reactions = textbook()
    assert len({r.name for r in reactions}) == len({r.smiles for r in reactions}) == 50
    few = [reactions[n] for n in (0, 7, 12, 43, 45)]
    return few, ReactionModel()([r.tokens for r in few])


def test_attention_and_mapping_are_those_of_the_package(
    mapped: tuple[list[Any], list[Any]],
) -> None:
    from _models.rxnmap.compare import session

    loaded, found = session(), example.Comparison()
    for one, attention in zip(*mapped, strict=True):
        assert attention.shape == (len(one.tokens.atoms),) * 2
        np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-5)
        assert (attention[:, one.tokens.roles == MOLECULE] == 0).all()
        found.add(loaded, one, attention)
    assert max(found.apart) < 1e-5  # 1e-4 is asked for
    assert all(found.same_walk)
    assert all(found.alike)


def test_the_picture_has_atoms_and_scores(mapped: tuple[list[Any], list[Any]]) -> None:
    need("matplotlib")
    from _models.rxnmap.drawing import draw

    few, attentions = mapped
    above, below = draw(few[1], attentions[1]).axes
    before, after = few[1].symbols
    assert len(above.texts) == len(before) + len(after) + 2  # a plus sign and the arrow
    assert below.images[0].get_array().shape == (len(after), len(before))


def test_a_missing_package_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"package chython is missing: pip install"):
        example.main([ESTER])
