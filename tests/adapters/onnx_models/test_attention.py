"""Attention of opsets 23 to 25: against onnx, onnxruntime and the definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx.inliner
from onnx.reference import ReferenceEvaluator

from onnx_nodes import assert_close, feeds, node, ours, theirs
from regard import reference

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, DIM, V_DIM = 2, 4, 2, 5, 7, 8, 6
NAMES = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]
OUTPUTS = ["Y", "present_key", "present_value", "qk_matmul_output"]
DOUBLE = 11


def floats(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def make(rng, past=0, lengths=None, mask=None, flat=False):
    inputs = dict.fromkeys(NAMES)
    inputs["Q"] = floats(rng, BATCH, HEADS, QUERIES, DIM)
    inputs["K"] = floats(rng, BATCH, KV_HEADS, KEYS, DIM)
    inputs["V"] = floats(rng, BATCH, KV_HEADS, KEYS, V_DIM)
    if past:
        inputs["past_key"] = floats(rng, BATCH, KV_HEADS, past, DIM)
        inputs["past_value"] = floats(rng, BATCH, KV_HEADS, past, V_DIM)
    if lengths is not None:
        inputs["nonpad_kv_seqlen"] = np.array(lengths, np.int64)
    if mask is not None:
        inputs["attn_mask"] = MASKS[mask](rng, KEYS + past)
    if flat:
        for name in "QKV":
            x = inputs[name].swapaxes(1, 2)
            inputs[name] = x.reshape(*x.shape[:2], -1)
    return inputs


def some(rng, *shape):
    """Bools of which each row has a true one."""
    mask = rng.random(shape) < 0.6
    mask[..., 0] = True
    return mask


MASKS = {
    "bool": lambda rng, keys: some(rng, QUERIES, keys),
    "bool of heads": lambda rng, keys: some(rng, HEADS, QUERIES, keys),
    "float": lambda rng, keys: floats(rng, BATCH, 1, QUERIES, keys),
    "of one row": lambda rng, keys: some(rng, 1, keys),
    "of one axis": lambda rng, keys: some(rng, keys),
    "short": lambda rng, keys: floats(rng, QUERIES, keys - 2),
    "short bool": lambda rng, keys: some(rng, BATCH, HEADS, QUERIES, keys - 2),
    "integers": lambda rng, keys: rng.integers(-2, 3, (QUERIES, keys)),
}
CACHES = {"none": {}, "past": {"past": 3}, "padded": {"lengths": [6, 7]}}


def model(inputs, outputs=OUTPUTS, opset=25, **attributes):
    if inputs["Q"].ndim == 3:
        attributes = {"q_num_heads": HEADS, "kv_num_heads": KV_HEADS, **attributes}
    if inputs["nonpad_kv_seqlen"] is not None:
        outputs = ["" if o.startswith("present") else o for o in outputs]
    return node("Attention", inputs, list(outputs), opset=opset, **attributes)


def by_onnx(made, inputs):
    return ReferenceEvaluator(made).run(None, feeds(inputs))


@pytest.mark.parametrize("flat", [False, True], ids=["heads", "hidden"])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [None, *MASKS])
@pytest.mark.parametrize("cache", CACHES)
def test_masks(rng, cache, mask, causal, flat):
    inputs = make(rng, **CACHES[cache], mask=mask, flat=flat)
    made = model(inputs, is_causal=causal, qk_matmul_output_mode=2)
    got = ours(made, inputs)
    # Masks that onnx's own evaluator has no causal attention for, as others that mean the same.
    if mask == "integers":
        inputs["attn_mask"] = inputs["attn_mask"].astype(np.float32)
    if mask in ("of one row", "of one axis"):
        inputs["attn_mask"] = np.tile(inputs["attn_mask"].reshape(1, -1), (QUERIES, 1))
    same = model(inputs, is_causal=causal, qk_matmul_output_mode=2)
    for one, other in zip(got, by_onnx(same, inputs), strict=True):
        assert_close(one, other)


SIDES = list(itertools.product([-1, 0, 2], [-1, 0, 1]))


@pytest.mark.parametrize(("left", "right"), SIDES)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("cache", CACHES)
def test_windows(rng, cache, causal, left, right):
    inputs = make(rng, **CACHES[cache])
    made = model(
        inputs, is_causal=causal, left_window_size=left, right_window_size=right,
        qk_matmul_output_mode=3,
    )  # fmt: skip
    for one, other in zip(ours(made, inputs), by_onnx(made, inputs), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("attributes", [{}, {"softcap": 0.7}, {"scale": 0.3, "softcap": 2.0}])
@pytest.mark.parametrize("cache", CACHES)
def test_scores(rng, cache, attributes, mode):
    inputs = make(rng, **CACHES[cache], mask="float")
    made = model(inputs, is_causal=1, qk_matmul_output_mode=mode, **attributes)
    expected = by_onnx(made, inputs)
    if mode == 0:  # where onnx's own evaluator returns scores that are capped
        without = model(inputs, is_causal=1, scale=attributes.get("scale", DIM**-0.5))
        expected[-1] = by_onnx(without, inputs)[-1]
    for one, other in zip(ours(made, inputs), expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("mode", range(4))
def test_scores_are_those_of_the_function(rng, mode):
    """That the schema defines the operator by: it is what counts where onnx does not agree."""
    inputs = make(rng, past=3, mask="float")
    made = model(inputs, is_causal=1, qk_matmul_output_mode=mode, softcap=0.7)
    expanded = onnx.inliner.inline_selected_functions(
        made, [("", "Attention")], exclude=False, inline_schema_functions=True
    )
    assert not any(n.op_type == "Attention" for n in expanded.graph.node)
    for one, other in zip(ours(made, inputs), by_onnx(expanded, inputs), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("cache", ["none", "past"])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_onnxruntime(rng, mask, cache, causal, mode):
    inputs = make(rng, **CACHES[cache], mask=mask)
    made = model(inputs, opset=23, is_causal=causal, qk_matmul_output_mode=mode, softcap=1.5)
    got, expected = ours(made, inputs), theirs(made, inputs)
    # Its -inf is the least number.
    expected[3] = np.where(expected[3] < -1e30, -np.inf, expected[3])
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("mode", [2, 3])
@pytest.mark.parametrize("cause", ["mask", "lengths"])
def test_hidden_keys_never_matter(rng, cause, mode):
    """NaN in them, and rows that see none at all."""
    inputs = make(rng, lengths=[5, 0] if cause == "lengths" else None)
    if cause == "mask":
        inputs["attn_mask"] = np.arange(KEYS) < np.array([5, 0]).reshape(2, 1, 1, 1)
    sees = np.broadcast_to(
        (np.arange(KEYS) < np.array([5, 0])[:, None])[:, None, None], (BATCH, HEADS, QUERIES, KEYS)
    )
    made = model(inputs, ["Y", "", "", "qk_matmul_output"], qk_matmul_output_mode=mode)
    clean = ours(made, inputs)
    for name in "KV":
        inputs[name][0, :, 5:] = inputs[name][1] = np.nan
    for one, other in zip(ours(made, inputs), clean, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (clean[0][1] == 0).all()
    np.testing.assert_array_equal(clean[1][~sees], -np.inf if mode == 2 else 0)


@pytest.mark.parametrize("precision", [None, 1, 10, DOUBLE, 16])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_types(rng, dtype, precision):
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)
    inputs = make(rng, past=3, mask="float")
    inputs = {n: None if x is None else x.astype(dtype) for n, x in inputs.items()}
    more = {} if precision is None else {"softmax_precision": precision}
    got = ours(model(inputs, is_causal=1, qk_matmul_output_mode=3, **more), inputs)
    assert {x.dtype for x in got} == {dtype}
    wide = {n: None if x is None else x.astype(np.float64) for n, x in inputs.items()}
    k, v = (np.concatenate((wide[f"past_{n}"], wide[n[0].upper()]), 2) for n in ("key", "value"))
    options = {"causal": True, "query_offset": 3, "bias": wide["attn_mask"]}
    unit = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-21, "float64": 2**-50}[dtype.name]
    exact = reference.attention(wide["Q"], k, v, **options)
    np.testing.assert_allclose(got[0].astype(np.float64), exact, rtol=0, atol=4 * unit)
    weights = reference.weights(wide["Q"], k, **options)
    np.testing.assert_allclose(got[3].astype(np.float64), weights, rtol=0, atol=2 * unit)
    np.testing.assert_array_equal(got[1], k.astype(dtype))
    np.testing.assert_array_equal(got[2], v.astype(dtype))


def test_float64_for_float32(rng):
    """What softmax_precision=DOUBLE is for: scores of which float32 would lose the differences."""
    inputs = make(rng)
    inputs["K"] = inputs["K"] + np.float32(1000)
    exact = reference.attention(*(inputs[n].astype(np.float64) for n in "QKV"))
    error = {}
    for precision in (1, DOUBLE):
        (got,) = ours(model(inputs, ["Y"], softmax_precision=precision), inputs)
        error[precision] = np.abs(got - exact).max()
    assert error[DOUBLE] < 1e-6 < 1e-5 < error[1]


def test_keys_and_values_of_two_types(rng):
    inputs = make(rng)
    inputs["V"] = inputs["V"].astype(np.float64)
    y, _, value, _ = ours(model(inputs), inputs)
    assert y.dtype == np.float32
    assert value.dtype == np.float64
    exact = reference.attention(*(inputs[n] for n in "QKV"))
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-6)


def test_outputs_are_contiguous(rng):
    for flat in (False, True):
        inputs = make(rng, flat=flat)
        assert all(x.flags.c_contiguous for x in ours(model(inputs), inputs))
