"""How far a result is from the float64 oracle, on rows enough to trust and few enough to wait for.

The oracle materialises its scores, so whole large problems would take longer to check than to
measure. A contiguous block of query rows is a smaller problem of its own: with the keys cut
after the last one the block may see, bottom-right alignment gives each row the position it had.
Of a summary, the cells of some rows of its map are checked, and all that is said of their queries.
Gradients have a module of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from regard import reference
from regard.bench import backward, options, storage
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs, options_of
from regard.reference.philox import philox4x32, threshold

# Scores the oracle may materialise for one check.
WHOLE_PROBLEM = 1 << 20
BLOCK_ROWS = 24

# Above this a result is not of the stated precision: half the digits are gone.
# Of 16 bits: two units of their precision, of the largest of some million normal numbers.
TOLERANCE = {
    "float32": 1e-4,
    "float64": 1e-10,
    **{name: 2 * unit * 5 for name, unit in storage.UNIT.items()},
}
# Rivals have 8-bit caches of their own, with scales of other rows: they are off by their rounding.
OTHER_INT8 = 1e-2


def largest_error(case: Case, inputs: Inputs, output: Any) -> float:
    """Largest absolute difference from the oracle, over all or chosen rows.

    That of gradients is relative to the largest number of each: see `backward.largest_error`.

    Parameters
    ----------
    case : Case
    inputs : Inputs
    output : ndarray, (batch, heads, length, value_dim); or AttentionSummary, or Gradients

    Returns
    -------
    float
        NaN where the output has one, or has the wrong shape.
    """
    if case.backward:
        return backward.largest_error(case, inputs, output)
    if case.option == "summary":
        return _summary_error(case, inputs, output)
    if output.shape != (*inputs.query.shape[:-1], case.value_dim):
        return float("nan")
    if case.option == "blocks":
        dense = {"mask": inputs.more["mask"].to_dense(), "more": {}}
        inputs = replace(inputs, **dense)
    whole = case.batch * case.heads * case.length * case.key_length <= WHOLE_PROBLEM
    if whole:
        batches = heads = None
        blocks = [(0, case.length)]
    else:
        batches, heads = _ends(case.batch), _ends(case.heads)
        rows = min(BLOCK_ROWS, case.length)
        middle = (case.length - rows) // 2
        blocks = sorted({(start, start + rows) for start in (0, middle, case.length - rows)})
    return max(_block_error(case, inputs, output, block, batches, heads) for block in blocks)


def acceptable(case: Case, error: float, own: bool = True) -> bool:
    """Whether an error is one that the case's types explain: regard's own, or a rival's."""
    if case.stored == "int8" and not own:
        return error <= OTHER_INT8
    return error <= TOLERANCE[case.dtype]


def another_computation(case: Case, error: float, own: float) -> bool:
    """Whether an error is so far above regard's that something less exact was computed.

    Four times as large, and in types of 32 and 64 bits beyond what the order of sums explains: as
    when products of float16 are taken in bfloat16.
    """
    floor = 4 * float(np.finfo(case.dtype).eps) if case.dtype in ("float32", "float64") else 0.0
    return not error <= max(4 * own, floor)


def in_units(case: Case, inputs: Inputs, error: float) -> float | None:
    """Error in units of the output's precision relative to the largest value, of 16 bits."""
    if case.dtype not in storage.UNIT:
        return None
    if case.backward:
        return error / storage.UNIT[case.dtype]
    largest = float(np.abs(reference.stored(inputs.value)).max())
    return error / (storage.UNIT[case.dtype] * largest)


def _ends(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})


def _block_error(
    case: Case,
    inputs: Inputs,
    output: Array,
    block: tuple[int, int],
    batches: list[int] | None,
    heads: list[int] | None,
) -> float:
    first, last = block
    keys = last if case.causal else case.key_length
    b = np.arange(case.batch) if batches is None else np.array(batches)
    h = np.arange(case.heads) if heads is None else np.array(heads)
    kv = h // (case.heads // case.kv_heads)

    def scores(array: Array | None) -> Array | None:
        """Cut out the block's part of a mask or bias, whose axes may be 1."""
        if array is None:
            return None
        array = array[b] if array.shape[0] > 1 else array
        array = array[:, h] if array.shape[1] > 1 else array
        array = array[:, :, first:last] if array.shape[2] > 1 else array
        return array[..., :keys]

    more = options.of_heads(inputs.more, h.tolist())
    for name in ("key_scales", "value_scales"):
        if name in more:
            more[name] = more[name][b][:, kv, :keys]
    part = Inputs(
        query=inputs.query[b][:, h, first:last],
        key=inputs.key[b][:, kv, :keys],
        value=inputs.value[b][:, kv, :keys],
        mask=scores(inputs.mask),
        bias=scores(inputs.bias),
        more=more,
    )
    words = options_of(case, part)
    if case.option == "dropout":
        kept = _kept(words.pop("dropout"), words.pop("seed"), b, h, np.arange(first, last), keys)
        expected = (reference.weights(part.query, part.key, **words) * kept) @ part.value
    else:
        expected = reference.attention(part.query, part.key, part.value, **words)
    got = reference.stored(output[b][:, h, first:last])
    return float(np.max(np.abs(got - expected)))


def _kept(dropout: float, seed: int, b: Array, h: Array, rows: Array, keys: int) -> Array:
    """Compute the factors of weights in some elements, heads and rows, where they belong."""
    axes = np.meshgrid(b, h, rows, np.arange(-(-keys // 4)), indexing="ij")
    words = philox4x32(np.stack(axes[::-1], axis=-1), [seed % 2**32, seed >> 32])
    words = words.reshape(b.size, h.size, rows.size, -1)[..., :keys]
    return (words >= threshold(dropout)) / (1 - dropout)


def _summary_error(case: Case, inputs: Inputs, output: Any) -> float:
    rows, columns = output.pooled.shape[-2:]
    h = np.array(_ends(case.heads))
    kv = h // (case.heads // case.kv_heads)
    worst = 0.0
    for cell in _ends(rows):
        first, last = cell * case.length // rows, (cell + 1) * case.length // rows
        expected = reference.summary(
            inputs.query[:, h, first:last],
            inputs.key[:, kv],
            top_k=output.top_weights.shape[-1],
            pooled=(1, columns),
            causal=True,
            query_offset=first,
        )
        pairs = [(output.pooled[:, h, cell], expected.pooled[..., 0, :])]
        for name in ("lse", "entropy", "row_max", "top_weights"):
            pairs.append((getattr(output, name)[:, h, first:last], getattr(expected, name)))
        if last == case.length:  # no other query sees these keys
            pairs.append((output.column_sums[:, h, first:], expected.column_sums[..., first:]))
        worst = max(worst, *(float(np.max(np.abs(got - right))) for got, right in pairs))
    return worst
