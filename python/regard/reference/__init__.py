"""Attention by its definition, in float64 NumPy: the oracle every kernel is checked against.

::

    S   = scale · Q Kᵀ, capped, with biases          scores      (..., Hq, Sq, Sk)
    P   = softmax of S over the keys a query sees    weights     (..., Hq, Sq, Sk)
    O   = P V                                        output      (..., Hq, Sq, Dv)
    LSE = log Σ exp(S) over the same keys            log-sum-exp (..., Hq, Sq)

Every matrix above is held whole, so memory grows with Sq x Sk. That is what ``regard.attention``
avoids, and what makes these pages short enough to be read as the meaning of every option:
:func:`visible` says which keys a query sees, :func:`scores` what a score is, :func:`attention` what
becomes of them, :func:`gradients` and :func:`attention_jvp` how that changes with the inputs,
:mod:`regard.reference.philox` which weights dropout drops, and :func:`stored` what keys and values
in 8 bits or in pages stand for.
"""

from regard.reference._attention import attention, weights
from regard.reference._gradients import Gradients, gradients
from regard.reference._scores import scores
from regard.reference._shapes import offsets
from regard.reference._stored import stored
from regard.reference._summary import Summary, summary
from regard.reference._tangents import attention_jvp
from regard.reference._varlen import varlen_attention
from regard.reference._varlen_gradients import varlen_gradients
from regard.reference._visible import visible

__all__ = [
    "Gradients",
    "Summary",
    "attention",
    "attention_jvp",
    "gradients",
    "offsets",
    "scores",
    "stored",
    "summary",
    "varlen_attention",
    "varlen_gradients",
    "visible",
    "weights",
]
