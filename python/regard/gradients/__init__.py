"""Derivatives of attention: backwards from a loss to its inputs, and forwards along a direction."""

from regard.gradients._backward import attention_backward
from regard.gradients._jvp import attention_jvp
from regard.gradients._result import INPUTS, NAMES, Gradients
from regard.gradients._vjp import Vjp, attention_vjp, varlen_attention_vjp

__all__ = [
    "INPUTS",
    "NAMES",
    "Gradients",
    "Vjp",
    "attention_backward",
    "attention_jvp",
    "attention_vjp",
    "varlen_attention_vjp",
]
