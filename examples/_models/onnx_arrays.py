"""The arrays of an ONNX file, under the names that PyTorch gave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from _models.packages import package_folder

Array = NDArray[Any]


def load_graph(file: Path, install: str) -> Any:
    """Read the graph of an ONNX file; `install` says how to get onnx."""
    package_folder("onnx", install)
    import onnx

    return onnx.load(file).graph


def arrays_of(graph: Any) -> dict[str, Array]:
    """Return the arrays of a graph by name.

    PyTorch's exporter gives the arrays of products, turned to be on the right, the name of their
    number. What they are is in the name of the product, so they get that:
    ``/backbone/encoder/layer.0/mlp/fc1/MatMul_output_0`` gives
    ``backbone.encoder.layer.0.mlp.fc1.weight``, with rows for outputs as PyTorch has it.
    """
    import onnx

    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            place = node.output[0].removesuffix("/MatMul_output_0").strip("/").replace("/", ".")
            arrays[f"{place}.weight"] = arrays[node.input[1]].T
    return arrays
