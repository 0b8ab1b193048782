"""The model by onnxruntime and the mapping by chython itself, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.packages import package_folder

from .bonds import Bonds
from .mapping import numbered
from .tokens import Indices, Tokens
from .weights import Array, packaged_file

INSTALL = "pip install onnxruntime networkx"


def session() -> Any:
    """Load the model into onnxruntime."""
    package_folder("onnxruntime", INSTALL)
    import onnxruntime

    return onnxruntime.InferenceSession(str(packaged_file()), providers=["CPUExecutionProvider"])


def onnxruntime_attention(loaded: Any, tokens: Tokens) -> Array:
    """Compute the attention (S, S) of a reaction by onnxruntime."""
    from scipy.linalg import block_diag

    rows = {
        "atoms": tokens.atoms,
        "neighbors": tokens.neighbors,
        "distances": block_diag(*tokens.distances),
        "roles": tokens.roles,
    }
    inputs = {name: row[np.newaxis].astype(np.int64) for name, row in rows.items()}
    attention: Array = loaded.run(None, inputs)[0]
    return attention


def chython_mapping(reaction: Any) -> Indices:
    """Let chython map a reaction, by the model alone: it mends some reactions by rules later."""
    from chython import ReactionContainer

    class Unmended(ReactionContainer):  # type: ignore[misc]
        __slots__ = ()

        def fix_mapping(self) -> bool:
            return False

    copy = reaction.copy()
    own = Unmended(copy.reactants, copy.products, copy.reagents)
    own.attention_mapping()
    return numbered(own)


def alike(tokens: Tokens, bonds: tuple[Bonds, Bonds], first: Indices, second: Indices) -> bool:
    """Tell whether two mappings are one but for atoms that the model cannot tell apart.

    Such atoms, as the two beside a substituent of a ring, have equal scores, and which is taken is
    a matter of rounding. The mappings are alike if the atoms of both sides, with their bonds and
    the mapping as edges between the sides, are isomorphic graphs.

    Parameters
    ----------
    tokens : Tokens
    bonds : tuple of ndarray of bool
        Of the reactants and of the products.
    first, second : ndarray of int64, shape (product atoms,)
        As of `assign`.
    """
    package_folder("networkx", INSTALL)
    import networkx

    same = networkx.algorithms.isomorphism.categorical_node_match("seen", None)
    graphs = [_graph(tokens, bonds, found) for found in (first, second)]
    return bool(networkx.is_isomorphic(*graphs, node_match=same))


def _graph(tokens: Tokens, bonds: tuple[Bonds, Bonds], found: NDArray[np.int64]) -> Any:
    import networkx

    graph = networkx.Graph()
    for side, own in ((tokens.reactants, bonds[0]), (tokens.products, bonds[1])):
        for n in side:
            seen = tokens.roles[n], tokens.atoms[n], tokens.neighbors[n]
            graph.add_node(int(n), seen=tuple(map(int, seen)))
        graph.add_edges_from((int(side[i]), int(side[j])) for i, j in np.argwhere(own))
    for product, reactant in zip(tokens.products, found, strict=True):
        if reactant >= 0:
            graph.add_edge(int(product), int(tokens.reactants[reactant]))
    return graph
