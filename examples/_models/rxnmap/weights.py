"""The weights of chython-rxnmap, from its ONNX file, under the names of `regard.nn`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from _models.onnx_arrays import Array, arrays_of, load_graph
from _models.packages import package_folder

INSTALL = "pip install onnx && pip install --no-deps chython-rxnmap==2.0"

NAMES = {"qkv_proj.": "in_proj_", "o_proj.": "out_proj."}


def packaged_file() -> Path:
    """Where the package keeps its model."""
    return package_folder("chython_rxnmap", INSTALL) / "rxnmap.onnx"


def read(file: Path) -> dict[str, Array]:
    """Read the arrays of the file."""
    return arrays_of(load_graph(file, INSTALL))


def layer_arrays(arrays: dict[str, Array], layer: str) -> dict[str, Array]:
    """Name the arrays of a layer, "mol_layer" or "rxn_layer", as PyTorch's encoder layer does.

    Each is used several times over, but the graph has its arrays, and their names, only once.
    """
    named = {}
    for name, array in arrays.items():
        if name.startswith(f"{layer}."):
            own = name.removeprefix(f"{layer}.")
            for old, new in NAMES.items():
                own = own.replace(old, new)
            named[own] = np.ascontiguousarray(array)
    return named
