"""What all operators have in common: attributes by name, errors in the operator's name."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from numpy.typing import NDArray

from regard._call.messages import rename

try:
    import onnx
    from onnx.reference.op_run import OpRun
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "regard.onnx needs the package onnx, 1.23 or later.\n  pip install 'regard[onnx]'",
        name="onnx",
    ) from error


class Operator(OpRun):
    """An operator for the reference evaluator of onnx.

    Subclasses have ``compute(*inputs, **attributes)``, which returns the outputs in their order.
    Its keyword-only parameters are the attributes, with their defaults; inputs that a node leaves
    out are None.
    """

    # Given in place of the schema that OpRun would look up by the name alone, whatever its domain.
    op_schema: ClassVar[None] = None

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        _check_release()
        super().__init__(onnx_node, run_params, schema)
        known = {
            p.name: p.default
            for p in inspect.signature(self.compute).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }
        given = {attribute.name for attribute in onnx_node.attribute}
        if unknown := sorted(given - known.keys()):
            raise ValueError(
                f"{self.title}: there is no attribute {unknown[0]}.\n  It has "
                f"{', '.join(sorted(known))}."
            )
        required = {name for name, default in known.items() if default is inspect.Parameter.empty}
        if missing := sorted(required - given):
            raise ValueError(f"{self.title}: the attribute {missing[0]} is not given.")

    @property
    def title(self) -> str:
        """Its name in messages, with the domain if that is not the standard's."""
        return f"{self.op_domain}.{self.op_type}" if self.op_domain else str(self.op_type)

    @property
    def opset(self) -> int | None:
        """Version of the operator's domain that the model asks for."""
        return dict(self.run_params["opsets"]).get(self.op_domain)

    def wants(self, output: int) -> bool:
        """Whether the node has an output of this number."""
        return output < len(self.output) and self.output[output] != ""

    def compute(self, *inputs: NDArray[Any] | None, **attributes: Any) -> tuple[NDArray[Any], ...]:
        """Compute the outputs."""
        raise NotImplementedError

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[NDArray[Any], ...]:
        try:
            return self.compute(*inputs, **attributes)
        except (TypeError, ValueError) as error:
            rename(error, self.title)
            # Not as a TypeError, which onnx replaces by one that names no argument.
            raise ValueError(*error.args) from error


def _check_release() -> None:
    """Refuse releases of onnx in which the same opsets have another Attention.

    Their causal masks are others; until 1.21, the softcap came after the mask, and other numbers
    chose what qk_matmul_output is.
    """
    if tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23):
        raise ImportError(
            f"regard.onnx needs onnx 1.23 or later, not {onnx.__version__}, whose Attention is "
            "another one.\n  pip install 'regard[onnx]'"
        )
