"""The arrays of a case, drawn at random, and the arguments that regard is called with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard import reference
from regard.bench import options, storage
from regard.bench.case import Case

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arrays of one case, query, key and value as (batch, heads, length, head_dim).

    `more` are the keyword arguments of the case's option, `dout` the derivatives of a loss by the
    output where gradients are computed.
    """

    query: Array
    key: Array
    value: Array
    mask: Array | None = None
    bias: Array | None = None
    more: dict[str, Any] = field(default_factory=dict)
    dout: Any = None


def make_inputs(case: Case, rng: np.random.Generator) -> Inputs:
    """Draw random arrays for a case.

    Parameters
    ----------
    case : Case
    rng : numpy.random.Generator

    Returns
    -------
    Inputs
        Standard normal query, key and value (and bias), of the case's dtype and layout.
    """
    dtype = np.dtype(storage.computed_in(case.dtype))

    def draw(heads: int, length: int) -> Array:
        stored = (case.batch, heads, length, case.head_dim)
        if case.layout == "bnhd":
            stored = (case.batch, length, heads, case.head_dim)
        array: Array = rng.standard_normal(stored, dtype=dtype.type)
        return array.transpose(0, 2, 1, 3) if case.layout == "bnhd" else array

    full = (case.batch, case.heads, case.length, case.key_length)
    mask: Array | None = None
    if case.mask == "random":
        mask = rng.random(full, dtype=np.float32) < 0.5
    elif case.mask == "key_padding":
        mask = np.arange(case.key_length) < case.real_keys
        mask = np.broadcast_to(mask, (case.batch, 1, 1, case.key_length)).copy()
    bias = rng.standard_normal(full, dtype=dtype.type) if case.bias else None
    query, _ = storage.store(draw(case.heads, case.length), case.dtype)
    key, key_scales = storage.store(draw(case.kv_heads, case.key_length), case.stored)
    if case.latent:
        value, value_scales = key[..., : case.latent], key_scales
    else:
        value, value_scales = storage.store(draw(case.kv_heads, case.key_length), case.stored)
    more = options.draw(case, rng)
    if key_scales is not None:
        more |= {"key_scales": key_scales, "value_scales": value_scales}
    dout = storage.store(draw(case.heads, case.length), case.dtype)[0] if case.backward else None
    return Inputs(query, key, value, mask=mask, bias=bias, more=more, dout=dout)


def options_of(case: Case, inputs: Inputs) -> dict[str, Any]:
    """Return the keyword arguments with which regard computes this case."""
    words = dict(inputs.more)
    if case.causal:
        words["causal"] = True
    if case.window is not None:
        words["window"] = (case.window - 1, 0)
    if inputs.mask is not None:
        words["mask"] = inputs.mask
    if inputs.bias is not None:
        words["bias"] = inputs.bias
    return words


def widened(case: Case, inputs: Inputs) -> tuple[Array, Array, Array]:
    """Return query, key and value as float32, scales multiplied in: for who reads nothing else."""
    scales = [inputs.more.get(f"{name}_scales") for name in ("key", "value")]
    query, key, value = (
        reference.stored(x, s).astype(np.float32)
        for x, s in zip((inputs.query, inputs.key, inputs.value), (None, *scales), strict=True)
    )
    return query, key, value
