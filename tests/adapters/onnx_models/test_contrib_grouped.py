"""GroupQueryAttention of com.microsoft against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_nodes import MICROSOFT, node, ours, theirs

BATCH, HEADS, KV_HEADS, DIM = 2, 4, 2, 16
OUTPUTS = ["output", "present_key", "present_value"]


def floats(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def make(rng, new, total, lengths, room=0, *, packed=False, tables=False):
    """Inputs in their order; `lengths` are those of the batch elements, new keys included."""
    query = floats(rng, len(lengths), new, HEADS * DIM)
    key, value = floats(rng, 2, len(lengths), new, KV_HEADS * DIM)
    past = floats(rng, 2, len(lengths), KV_HEADS, room, DIM) if room else (None, None)
    angles = rng.uniform(0, 6, (total + 3, DIM // 2)).astype(np.float32)
    return {
        "query": np.concatenate((query, key, value), axis=-1) if packed else query,
        "key": None if packed else key,
        "value": None if packed else value,
        "past_key": past[0],
        "past_value": past[1],
        "seqlens_k": np.array(lengths, np.int32) - 1,
        "total_sequence_length": np.array(total, np.int32),
        "cos_cache": np.cos(angles) if tables else None,
        "sin_cache": np.sin(angles) if tables else None,
        "position_ids": None,
        "attention_bias": None,
        "head_sink": None,
    }


def compare(inputs, outputs=OUTPUTS, **attributes):
    heads = {"num_heads": HEADS, "kv_num_heads": KV_HEADS}
    model = node("GroupQueryAttention", inputs, outputs, MICROSOFT, **heads, **attributes)
    got, expected = ours(model, inputs), theirs(model, inputs)
    assert len(got) == len(expected) == len(outputs)
    for name, one, other in zip(outputs, got, expected, strict=True):
        assert one.shape == other.shape, name
        assert one.dtype == other.dtype, name
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6, err_msg=name)


CALLS = {
    "prompt": {"new": 7, "total": 7, "lengths": [7, 7]},
    "token": {"new": 1, "total": 9, "lengths": [9, 9], "room": 8},
    "token of a shorter element": {"new": 1, "total": 9, "lengths": [9, 5], "room": 8},
    "token in a buffer": {"new": 1, "total": 9, "lengths": [9, 4], "room": 12},
    "more tokens": {"new": 3, "total": 9, "lengths": [9], "room": 6},
}
OPTIONS = {
    "plain": {},
    "scale": {"scale": 0.7},
    "softcap": {"softcap": 1.5},
    "window": {"local_window_size": 3},
    "window of one": {"local_window_size": 1},
    "smooth softmax": {"smooth_softmax": 1},
    "window, softcap and smooth softmax": {
        "local_window_size": 4, "softcap": 2.0, "smooth_softmax": 1
    },
    "bidirectional": {"causal": 0},
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["separate", "packed"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("call", CALLS)
def test_options(rng, call, option, packed):
    compare(make(rng, **CALLS[call], packed=packed), **OPTIONS[option])


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("packed", [False, True], ids=["separate", "packed"])
@pytest.mark.parametrize("call", CALLS)
def test_rotary(rng, call, packed, interleaved):
    inputs = make(rng, **CALLS[call], packed=packed, tables=True)
    compare(inputs, do_rotary=1, rotary_interleaved=interleaved)


@pytest.mark.parametrize("call", CALLS)
def test_part_of_a_head_is_turned(rng, call):
    inputs = make(rng, **CALLS[call], tables=True)
    for name in ("cos_cache", "sin_cache"):
        inputs[name] = np.ascontiguousarray(inputs[name][:, :8])
    heads = 32
    inputs["query"] = floats(rng, *inputs["query"].shape[:2], HEADS * heads)
    for name in ("key", "value"):
        inputs[name] = floats(rng, *inputs[name].shape[:2], KV_HEADS * heads)
        past = inputs[f"past_{name}"]
        if past is not None:
            inputs[f"past_{name}"] = floats(rng, *past.shape[:3], heads)
    compare(inputs, do_rotary=1)


@pytest.mark.parametrize("call", CALLS)
def test_positions_are_given(rng, call):
    inputs = make(rng, **CALLS[call], tables=True)
    batch, new, _ = inputs["query"].shape
    inputs["position_ids"] = rng.integers(0, 3, (batch, new))
    compare(inputs, do_rotary=1)


@pytest.mark.parametrize("attributes", [{}, {"softcap": 1.0}, {"local_window_size": 2}])
@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("call", CALLS)
def test_bias(rng, call, heads, attributes):
    inputs = make(rng, **CALLS[call])
    batch, new, _ = inputs["query"].shape
    total = CALLS[call]["total"]
    for elements in {1, batch}:
        inputs["attention_bias"] = floats(rng, elements, heads, new, total)
        compare(inputs, **attributes)


@pytest.mark.parametrize("attributes", [{}, {"softcap": 1.0, "local_window_size": 3}])
@pytest.mark.parametrize("call", CALLS)
def test_sinks(rng, call, attributes):
    inputs = make(rng, **CALLS[call])
    inputs["head_sink"] = floats(rng, HEADS)
    compare(inputs, **attributes)


@pytest.mark.parametrize("qk_output", [1, 2])
@pytest.mark.parametrize("attributes", [{}, {"softcap": 1.0, "local_window_size": 3}])
@pytest.mark.parametrize("call", CALLS)
def test_scores(rng, call, attributes, qk_output):
    inputs = make(rng, **CALLS[call])
    compare(inputs, [*OUTPUTS, "output_qk"], qk_output=qk_output, **attributes)


def test_shorter_elements_of_a_prompt(rng):
    """Rows behind an element's tokens have no meaning; the others do not see them."""
    inputs = make(rng, new=6, total=6, lengths=[6, 4])
    model = node("GroupQueryAttention", inputs, OUTPUTS, MICROSOFT,
                 num_heads=HEADS, kv_num_heads=KV_HEADS)  # fmt: skip
    got, expected = ours(model, inputs), theirs(model, inputs)
    np.testing.assert_allclose(got[0][0], expected[0][0], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(got[0][1, :4], expected[0][1, :4], rtol=1e-5, atol=2e-6)
    for one, other in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(one, other)
