"""Models of one node, run by regard's operators and by onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

import regard.onnx

MICROSOFT = "com.microsoft"
_SILENT = 4  # errors are raised, and warnings of shapes are of no use


def node(
    op: str,
    inputs: dict[str, np.ndarray | None],
    outputs: list[str],
    domain: str = "",
    opset: int = 23,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node, whose inputs are those that are not None."""
    names = ["" if x is None else name for name, x in inputs.items()]
    made = helper.make_node(op, names, outputs, domain=domain, **attributes)
    types = {
        name: helper.np_dtype_to_tensor_dtype(x.dtype)
        for name, x in inputs.items()
        if x is not None
    }
    first = next(iter(types.values()))
    return helper.make_model(
        helper.make_graph(
            [made],
            "node",
            [helper.make_tensor_value_info(n, t, inputs[n].shape) for n, t in types.items()],
            [helper.make_tensor_value_info(n, first, None) for n in outputs if n],
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=10,
    )


def ours(model: onnx.ModelProto, inputs: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """What the reference evaluator computes with regard's operators."""
    return ReferenceEvaluator(model, new_ops=regard.onnx.ops).run(None, feeds(inputs))


def theirs(model: onnx.ModelProto, inputs: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """What onnxruntime computes on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds(inputs))


def feeds(inputs: dict[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    return {name: x for name, x in inputs.items() if x is not None}
