"""Find which atom becomes which in a chemical reaction: a model whose result is its attention.

The model of chython-rxnmap was trained to understand reactions, and what its atoms attend to on the
other side of the arrow is where they were before. One encoder layer is used eight times within
molecules, with a bias for each head and number of bonds between two atoms, another one eight times
across the reaction; the weights are read from the package's ONNX file into `regard.nn`. SMILES are
read by chython. Both packages have the licence LGPL-3.0-or-later: they are used as they are, and
nothing of them is in here.

    pip install onnx scipy lazy-object-proxy tqdm networkx matplotlib
    pip install --no-deps chython-rxnmap==2.0 chython==2.18

    python examples/reaction_mapping.py "OCC.CC(=O)O>>CC(=O)OCC.O"
    python examples/reaction_mapping.py --plot mapping.png
    pip install onnxruntime && python examples/reaction_mapping.py --compare

Without SMILES, it is fifty reactions of the textbooks. `--no-deps` leaves out onnxruntime, which
only --compare needs; networkx is for that as well, and for --plot.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from _models.rxnmap.reactions import Reaction

TOGETHER = 10  # reactions in one packed batch


@dataclass
class Comparison:
    """How far regard's results are from those of onnxruntime and of chython.

    Attributes
    ----------
    apart : list of float
        Largest difference of the attention, for each reaction.
    same_walk : list of bool
        Whether `assign` makes chython's mapping of onnxruntime's attention, atom for atom.
    alike : list of bool
        Whether regard's mapping is chython's but for atoms that the model cannot tell apart.
    """

    apart: list[float] = field(default_factory=list)
    same_walk: list[bool] = field(default_factory=list)
    alike: list[bool] = field(default_factory=list)

    def add(self, session: Any, reaction: Reaction, attention: Any) -> None:
        """Compare one reaction."""
        from _models.rxnmap.compare import alike, chython_mapping, onnxruntime_attention

        other = onnxruntime_attention(session, reaction.tokens)
        theirs = chython_mapping(reaction.read)
        ours = reaction.mapping(attention)
        self.apart.append(float(np.abs(attention - other).max()))
        self.same_walk.append(bool((reaction.mapping(other) == theirs).all()))
        self.alike.append(alike(reaction.tokens, reaction.bonds, ours, theirs))


def compare(reactions: Sequence[Reaction], attentions: Sequence[Any]) -> Comparison:
    """Compare all reactions, and print what was found."""
    from _models.rxnmap.compare import session
    from regard.nn.training import progress

    found, loaded = Comparison(), session()
    for reaction, attention in progress(list(zip(reactions, attentions, strict=True)), "compare"):
        found.add(loaded, reaction, attention)
    print(f"\nlargest difference from onnxruntime's attention: {max(found.apart):.1e}")
    print(
        f"chython's own mapping of onnxruntime's attention: {sum(found.same_walk)} of "
        f"{len(reactions)} atom for atom"
    )
    print(
        f"chython's own mapping by regard's attention: {sum(found.alike)} of {len(reactions)}, "
        "up to atoms that the model cannot tell apart"
    )
    return found


def describe(reaction: Reaction, attention: Any, with_numbers: bool) -> str:
    """Say which bonds are made and broken; with the numbered SMILES."""
    found = reaction.mapping(attention)
    before, after = reaction.symbols
    lists = []
    for pairs, symbols in zip(reaction.changes(found), (after, before), strict=True):
        names = sorted("-".join(sorted((symbols[i], symbols[j]))) for i, j in pairs)
        lists.append(", ".join(names) or "none")
    text = f"{reaction.name}: makes {lists[0]}; breaks {lists[1]}"
    return f"{text}\n  {reaction.mapped(found)}" if with_numbers else text


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("smiles", nargs="*", help="reactions; by default fifty of the textbooks")
    parser.add_argument(
        "--compare", action="store_true", help="set attention and mapping beside the package's own"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the last of the reactions")
    parser.add_argument(
        "--figures", type=Path, metavar="FILE", help="write what was measured; compares"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Map the reactions."""
    arguments = parse(argv)
    from _models.figures import Figure, write_figures
    from _models.rxnmap.model import ReactionModel
    from _models.rxnmap.reactions import Reaction, textbook
    from regard.nn.training import progress

    own = [Reaction(f"reaction {n}", text) for n, text in enumerate(arguments.smiles, 1)]
    reactions = own or textbook()
    tokens = [reaction.tokens for reaction in reactions]
    model, attentions = ReactionModel(), []
    start = time.perf_counter()
    for first in progress(range(0, len(tokens), TOGETHER), "reactions"):
        attentions += model(tokens[first : first + TOGETHER])
    seconds = time.perf_counter() - start
    for reaction, attention in zip(reactions, attentions, strict=True):
        print(describe(reaction, attention, bool(own)))
    print(f"\n{sum(len(t.atoms) for t in tokens):,} tokens in {seconds:.1f} s")
    if arguments.plot:
        from _models.rxnmap.drawing import draw

        draw(reactions[-1], attentions[-1]).savefig(arguments.plot, dpi=150)
        print(f"drawn: {arguments.plot}")
    if arguments.compare or arguments.figures:
        found = compare(reactions, attentions)
    if arguments.figures:
        count = f"{len(reactions)} reactions"
        write_figures(
            arguments.figures, "chemistry", "chython-rxnmap 2.0, chython 2.18",
            "python examples/reaction_mapping.py",
            [
                Figure(f"largest difference from onnxruntime, {count}",
                       float(f"{max(found.apart):.1e}"), "", {"allowed": 1e-4}),
                Figure(f"mapped as by chython itself, up to atoms alike, {count}",
                       100 * float(np.mean(found.alike)), "%", {}),
            ],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
