"""The gallery's page of the mapping of reactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ARGUMENTS = ("--compare",)
TITLE = "Which atom becomes which"
WORDS = (
    "In chython-rxnmap's model of chemical reactions, what an atom attends to across the arrow is "
    "where it was before: the attention is the result. Two layers of `regard.nn`, each used eight "
    "times, run on packed rows, the first with a bias for each head and number of bonds between "
    "two atoms. The mapping is that of the model, and of chython before it mends some reactions by "
    "rules: not all of the fifty are those of the textbooks. In the elimination, for one, two "
    "carbons change places."
)
CAPTION = (
    "The Biginelli reaction. Above, atoms have the number they have on the left, and the colour of "
    "the molecule they come from; bonds that are broken or made are orange. Below, the scores: "
    "attention of products to reactants and back, added, between atoms of one element. Rings are "
    "the mapping."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the last of the textbooks' reactions, and its scores."""
    from _models.rxnmap.drawing import draw
    from _models.rxnmap.model import ReactionModel
    from _models.rxnmap.reactions import textbook

    reaction = textbook()[-1]
    attention = ReactionModel()([reaction.tokens])[0]
    return lambda ink: draw(reaction, attention, ink)
