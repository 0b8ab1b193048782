"""A backend of onnx: its reference evaluator with the operators of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx.backend.base import Backend as _Backend
from onnx.backend.base import BackendRep
from onnx.reference import ReferenceEvaluator

from regard.onnx._inputs import Array
from regard.onnx._ops import ops


class PreparedModel(BackendRep):
    """A model that is ready to run.

    Parameters
    ----------
    model : onnx.ModelProto
    ops : sequence of operators
        Those that take the place of the evaluator's own.
    """

    def __init__(self, model: Any, ops: Sequence[type]) -> None:
        self._evaluator = ReferenceEvaluator(model, new_ops=list(ops))

    def run(self, inputs: Any, **_: Any) -> tuple[Array, ...]:
        """Compute all outputs.

        Parameters
        ----------
        inputs : sequence of arrays, or mapping of names to arrays
            In the order of the model's inputs, or by name.

        Returns
        -------
        tuple of ndarray
        """
        if isinstance(inputs, Mapping):
            feeds = dict(inputs)
        else:
            names = self._evaluator.input_names
            if len(inputs) > len(names):
                raise ValueError(
                    f"run: there are {len(inputs)} inputs, and the model has {len(names)}."
                )
            feeds = dict(zip(names, inputs, strict=False))
        return tuple(self._evaluator.run(None, feeds))


class Backend(_Backend):
    """Runs models by onnx's reference evaluator, attention and rotary embeddings by regard.

    For `onnx.backend.test.BackendTest`, and wherever a backend of onnx is asked for. Everything but
    the operators in `regard.onnx.ops` is onnx's own evaluator, which is written to be read and not
    to be fast. Devices other than the CPU there are none.

    See Also
    --------
    regard.onnx.ops : To be given to a ReferenceEvaluator of one's own.

    Examples
    --------
    >>> import numpy as np
    >>> import onnx
    >>> import regard.onnx
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 10, opset_import: ["" : 23]>
    ...     g (float[1, 2, 8, 4] X) => (float[1, 2, 8, 4] Y) { Y = Attention (X, X, X) }
    ... ''')
    >>> X = np.ones((1, 2, 8, 4), np.float32)
    >>> regard.onnx.Backend.run_model(model, [X])[0].shape
    (1, 2, 8, 4)
    """

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> PreparedModel:
        """Check a model and make it ready to run.

        Parameters
        ----------
        model : onnx.ModelProto
        device : str
            "CPU".

        Returns
        -------
        PreparedModel
        """
        if not cls.supports_device(device):
            raise ValueError(f"prepare: device is {device!r}.\n  Give 'CPU'.")
        # Operators of other domains are in no schema of onnx, which passes over them.
        onnx.checker.check_model(model)
        return PreparedModel(model, ops)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether the device is a CPU."""
        return device.split(":")[0] == "CPU"
