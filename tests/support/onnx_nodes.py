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
    while not names[-1]:
        names.pop()
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


def assert_close(got, expected, blind=None) -> None:
    """The same in float32, but for rows (batch, queries) of an output that see masked keys alone.

    -10000 was added to each of their scores, and what that leaves of them is rounded to 2 ** -10.
    """
    assert got.dtype == expected.dtype
    if blind is not None:
        np.testing.assert_allclose(got[blind], expected[blind], rtol=0, atol=4e-3)
        got, expected = got[~blind], expected[~blind]
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)


def blind_rows(mask, queries: int, keys: int, causal: bool = False) -> np.ndarray:
    """Which rows (batch, queries) a mask of com.microsoft leaves no key, all queries at the end."""
    j = np.arange(keys)
    if mask.ndim == 1:
        batch = {2: 2, 4: 2, 8: 2}[len(mask)]
        sees = j < mask[:batch, np.newaxis]
        if len(mask) == 4:
            sees &= j >= mask[2:, np.newaxis]
        sees = sees[:, np.newaxis]
    else:
        sees = mask > 0 if mask.ndim == 3 else (mask > 0)[:, np.newaxis]
    near = j <= np.arange(queries)[:, np.newaxis] + keys - queries
    return ~(sees & (near if causal else np.ones_like(near))).any(axis=-1)
