"""Attention of com.microsoft, by onnxruntime or by the definition what that lacks."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regard
from onnx_nodes import MICROSOFT, assert_close, blind_rows, node, ours, theirs
from regard import reference

BATCH, HEADS, DIM, LENGTH, HIDDEN, PAST = 2, 2, 8, 5, 12, 3
NAMES = [
    "input", "weights", "bias", "mask_index", "past", "attention_bias", "past_sequence_length",
]  # fmt: skip


def floats(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def make(rng, past=0, dim=DIM, v_dim=None):
    inputs = dict.fromkeys(NAMES)
    hidden = HEADS * (2 * dim + (v_dim or dim))
    inputs["input"] = floats(rng, BATCH, LENGTH, HIDDEN)
    inputs["weights"] = floats(rng, HIDDEN, hidden)
    inputs["bias"] = floats(rng, hidden)
    if past:
        inputs["past"] = floats(rng, 2, BATCH, HEADS, past, dim)
    return inputs


def model(inputs, outputs, **attributes):
    return node("Attention", inputs, outputs, MICROSOFT, num_heads=HEADS, **attributes)


def compare(inputs, **attributes):
    outputs = ["output", "present"] if inputs["past"] is not None else ["output"]
    made = model(inputs, outputs, **attributes)
    got, expected = ours(made, inputs), theirs(made, inputs)
    mask, blind = inputs["mask_index"], None
    if mask is not None:
        keys = LENGTH + (0 if inputs["past"] is None else PAST)
        blind = blind_rows(mask, LENGTH, keys, bool(attributes.get("unidirectional")))
    assert_close(got[0], expected[0], blind)
    for one, other in zip(got[1:], expected[1:], strict=True):
        assert_close(one, other)


def masks(rng, keys):
    """Every form, with a row of which all is masked."""
    two, three = (rng.random(s) < 0.6 for s in ((BATCH, keys), (BATCH, LENGTH, keys)))
    two[1] = three[1, 2] = False
    return {
        "none": None,
        "lengths": np.array([3, keys], np.int32),
        "ends and starts": np.array([4, keys, 1, keys - 1], np.int32),
        "packed lengths": np.array([3, keys, 0, 3, 3 + keys, 0, 3, 3 + keys], np.int32),
        "keys": two.astype(np.int32),
        "pairs": three.astype(np.int32),
    }


@pytest.mark.parametrize("past", [0, PAST])
@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("more", [{}, {"scale": 0.2, "mask_filter_value": -2.0}])
@pytest.mark.parametrize("mask", masks(np.random.default_rng(0), LENGTH))
def test_masks(rng, mask, more, unidirectional, past):
    inputs = make(rng, past)
    inputs["mask_index"] = masks(rng, LENGTH + past)[mask]
    compare(inputs, unidirectional=unidirectional, **more)


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("elements", [1, BATCH])
def test_attention_bias(rng, elements, heads):
    inputs = make(rng)
    inputs["attention_bias"] = floats(rng, elements, heads, LENGTH, LENGTH)
    inputs["mask_index"] = masks(rng, LENGTH)["keys"]
    compare(inputs)


def test_without_bias(rng):
    compare({**make(rng), "bias": None})


def test_values_of_another_width(rng):
    compare(make(rng, v_dim=3), qkv_hidden_sizes=[HEADS * DIM, HEADS * DIM, HEADS * 3])


def projected(inputs, dim=DIM):
    qkv = inputs["input"].astype(np.float64) @ inputs["weights"] + inputs["bias"]
    parts = qkv.reshape(BATCH, LENGTH, 3, HEADS, dim).transpose(2, 0, 3, 1, 4)
    return tuple(parts)


def merged(out):
    return out.swapaxes(1, 2).reshape(BATCH, LENGTH, -1)


def test_a_mask_of_all_tokens(rng):
    """onnxruntime has it on GPUs only: a square of the most tokens there may be."""
    inputs = make(rng, PAST)
    inputs["mask_index"] = np.tril(np.ones((BATCH, 1, 10, 10), np.int32))
    made = model(inputs, ["output", "present"])
    got = ours(made, inputs)
    as_pairs = dict(inputs, mask_index=inputs["mask_index"][:, 0, PAST:8, :8].copy())
    expected = theirs(model(as_pairs, ["output", "present"]), as_pairs)
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other)


def test_attention_bias_and_past(rng):
    """onnxruntime has them on GPUs only."""
    inputs = make(rng, PAST)
    inputs["attention_bias"] = floats(rng, BATCH, 1, LENGTH, PAST + LENGTH)
    got = ours(model(inputs, ["output", "present"], unidirectional=1), inputs)
    q, k, v = projected(inputs)
    k, v = (np.concatenate(x, axis=2) for x in zip(inputs["past"], (k, v), strict=True))
    expected = reference.attention(q, k, v, causal=True, bias=inputs["attention_bias"])
    assert_close(got[0], merged(expected).astype(np.float32))


@pytest.mark.parametrize("turned", [None, 8])
@pytest.mark.parametrize("past", [0, PAST])
def test_rotary(rng, past, turned):
    """onnxruntime has it on GPUs only: queries and keys turned behind the past."""
    inputs = make(rng, past, dim=16)
    attributes = {} if turned is None else {"rotary_embedding_dim": turned}
    got = ours(model(inputs, ["output", "present"], do_rotary=1, unidirectional=1, **attributes),
               inputs)  # fmt: skip
    q, k, v = projected(inputs, 16)
    q, k = (regard.positions.rope(x, past + np.arange(LENGTH), dim=turned) for x in (q, k))
    if past:
        k, v = (np.concatenate(x, axis=2) for x in zip(inputs["past"], (k, v), strict=True))
    np.testing.assert_allclose(got[1], np.stack((k, v)), rtol=1e-5, atol=1e-5)
    expected = merged(reference.attention(q, k, v, causal=True))
    np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-5)


def test_a_past_in_a_buffer(rng):
    inputs = make(rng, past=11)
    inputs["past"][:, :, :, PAST:] = np.nan
    inputs["past_sequence_length"] = np.array([PAST], np.int32)
    got = ours(model(inputs, ["output", "present"], past_present_share_buffer=1), inputs)
    alone = dict(inputs, past=inputs["past"][:, :, :, :PAST].copy(), past_sequence_length=None)
    expected = theirs(model(alone, ["output", "present"]), alone)
    np.testing.assert_allclose(got[0], expected[0], rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(got[1][:, :, :, : PAST + LENGTH], expected[1], rtol=1e-5, atol=1e-5)
    assert np.isnan(got[1][:, :, :, PAST + LENGTH :]).all()
