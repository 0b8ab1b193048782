"""The model: one layer used 8 times within molecules, another one 8 times across the reaction.

"Bidirectional Graphormer for Reactivity Understanding: Neural Network Trained to Reaction Atom-to-
Atom Mapping Task" (Nugmanov et al., 2022). In molecules, a bias for each head and distance is added
to the scores. The eighth time across the reaction only the attention weights are computed: their
mean over the heads is the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regard import nn

from .tokens import APART, MOLECULE, REACTION, Tokens
from .weights import Array, layer_arrays, packaged_file, read

TIMES = 8
MOLECULE_HEADS, REACTION_HEADS = 16, 4


class ReactionModel:
    """What each atom of a reaction attends to, as chython-rxnmap's model has it.

    Parameters
    ----------
    file : Path, optional
        The ONNX file; by default the package's.
    """

    def __init__(self, file: Path | None = None) -> None:
        arrays = read(packaged_file() if file is None else file)
        self.atoms = arrays["atoms_encoder.weight"]
        self.neighbors = arrays["neighbors_encoder.weight"]
        self.roles = arrays["role_encoder.weight"]
        self.distances = arrays["spatial_encoder.weight"]  # (13, 16), the first row -inf
        self.within, self.across = (
            nn.TransformerEncoderLayer.from_state_dict(
                layer_arrays(arrays, layer), num_heads=heads, activation="gelu"
            )
            for layer, heads in (("mol_layer", MOLECULE_HEADS), ("rxn_layer", REACTION_HEADS))
        )

    def bias(self, reactions: Sequence[Tokens]) -> Array:
        """Return the bias of all molecules: (molecules, heads, longest, longest)."""
        pieces = [piece for tokens in reactions for piece in tokens.distances]
        longest = max(map(len, pieces))
        rows = np.full((len(pieces), longest, longest), APART)
        for padded, piece in zip(rows, pieces, strict=True):
            padded[: len(piece), : len(piece)] = piece
        return np.moveaxis(self.distances.T[:, rows], 0, 1)

    def __call__(self, reactions: Sequence[Tokens]) -> list[Array]:
        """Compute the attention (S, S) of each reaction, on packed rows of all.

        Row i is what token i attends to; the mean over the heads.
        """
        roles, offsets = nn.pack([tokens.roles for tokens in reactions])
        atoms = np.concatenate([tokens.atoms for tokens in reactions])
        neighbors = np.concatenate([tokens.neighbors for tokens in reactions])
        sizes = [len(piece) for tokens in reactions for piece in tokens.distances]
        molecules, bias = np.cumsum([0, *sizes]), self.bias(reactions)
        x = self.atoms[atoms] + self.neighbors[neighbors]
        for _ in range(TIMES):
            x = self.within(x, offsets=molecules, bias=bias)
        x = np.where(roles[:, np.newaxis] > REACTION, x, 0) + self.roles[roles]

        seen = [tokens.roles != MOLECULE for tokens in reactions]
        longest = max(map(len, seen))
        keys = np.array([np.pad(own, (0, longest - len(own))) for own in seen])
        mask = keys[:, np.newaxis, np.newaxis]
        for _ in range(TIMES - 1):
            x = self.across(x, offsets=offsets, mask=mask)
        attend = self.across.self_attn
        rows = nn.unpack(x, offsets)
        return [
            attend.weights(own, mask=see).mean(axis=0) for own, see in zip(rows, seen, strict=True)
        ]
