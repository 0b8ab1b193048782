"""MultiHeadAttention of com.microsoft, by onnxruntime or by the definition what that lacks."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_nodes import MICROSOFT, assert_close, blind_rows, node, ours, theirs
from regard import reference

BATCH, HEADS, DIM = 2, 3, 8
QUERIES, KEYS, PAST = 5, 5, 4
OUTPUTS = ["output", "present_key", "present_value"]
NAMES = [
    "query", "key", "value", "bias", "key_padding_mask", "attention_bias", "past_key",
    "past_value", "past_sequence_length",
]  # fmt: skip


def floats(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def make(rng, form="separate", v_dim=DIM, past=0, keys=KEYS):
    inputs = dict.fromkeys(NAMES)
    if form == "packed":
        inputs["query"] = floats(rng, BATCH, QUERIES, HEADS, 3, DIM)
    else:
        inputs["query"] = floats(rng, BATCH, QUERIES, HEADS * DIM)
    if form == "packed key":
        inputs["key"] = floats(rng, BATCH, keys, HEADS, 2, DIM)
    elif form == "by head":
        inputs["key"] = floats(rng, BATCH, HEADS, keys, DIM)
        inputs["value"] = floats(rng, BATCH, HEADS, keys, v_dim)
    elif form == "separate":
        inputs["key"] = floats(rng, BATCH, keys, HEADS * DIM)
        inputs["value"] = floats(rng, BATCH, keys, HEADS * v_dim)
    if past:
        inputs["past_key"] = floats(rng, BATCH, HEADS, past, DIM)
        inputs["past_value"] = floats(rng, BATCH, HEADS, past, v_dim)
    return inputs


def results(inputs, outputs, **attributes):
    return node("MultiHeadAttention", inputs, outputs, MICROSOFT, num_heads=HEADS, **attributes)


def compare(inputs, outputs=("output",), *, without_last=False, **attributes):
    """`without_last`: onnxruntime hides no key from the last query, as if there were none after."""
    model = results(inputs, list(outputs), **attributes)
    got, expected = ours(model, inputs), theirs(model, inputs)
    if without_last:
        got[0], expected[0] = got[0][:, :-1], expected[0][:, :-1]
    mask, blind = inputs["key_padding_mask"], None
    if mask is not None and attributes.get("mask_filter_value", -10000) == -10000:
        keys = expected[1].shape[2] if len(expected) > 1 else inputs["key"].shape[1]
        blind = blind_rows(mask, QUERIES, keys, bool(attributes.get("unidirectional")))
    for name, one, other in zip(outputs, got, expected, strict=True):
        assert_close(one, other, blind if name == "output" else None)


FORMS = {
    "self": {},
    "cross": {"keys": 9},
    "wide values": {"v_dim": 12},
    "by head": {"form": "by head", "keys": 6},
    "past": {"past": PAST},
}
ATTRIBUTES = {"plain": {}, "scale": {"scale": 0.3}, "unidirectional": {"unidirectional": 1}}


def outputs_of(form):
    return OUTPUTS if form == "past" else OUTPUTS[:1]


@pytest.mark.parametrize("biased", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("attributes", ATTRIBUTES)
@pytest.mark.parametrize("form", FORMS)
def test_forms(rng, form, attributes, biased):
    inputs = make(rng, **FORMS[form])
    if biased:
        v_dim = FORMS[form].get("v_dim", DIM)
        inputs["bias"] = floats(rng, HEADS * (2 * DIM + v_dim))
    last = attributes == "unidirectional" and form in ("cross", "by head")
    compare(inputs, outputs_of(form), without_last=last, **ATTRIBUTES[attributes])


def masks(rng, keys):
    """Every form, each with a batch element of which all is masked."""
    two, three = (rng.random(s) < 0.6 for s in ((BATCH, keys), (BATCH, QUERIES, keys)))
    two[1] = three[1, 2] = False
    ends = np.array([3, keys], np.int32)
    packed = np.array([3, keys, 0, 3, 3 + keys, 0, 3, 3 + keys])
    return {
        "lengths": ends,
        "packed lengths": packed.astype(np.int32),
        "keys": two.astype(np.int32),
        "pairs": three.astype(np.int32),
    }


@pytest.mark.parametrize("filtered", [{}, {"mask_filter_value": -1.5}])
@pytest.mark.parametrize("attributes", ATTRIBUTES)
@pytest.mark.parametrize("mask", ["lengths", "packed lengths", "keys", "pairs"])
@pytest.mark.parametrize("form", ["self", "past"])
def test_masks(rng, form, mask, attributes, filtered):
    inputs = make(rng, **FORMS[form])
    inputs["key_padding_mask"] = masks(rng, KEYS + FORMS[form].get("past", 0))[mask]
    compare(inputs, outputs_of(form), **ATTRIBUTES[attributes], **filtered)


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("elements", [1, BATCH])
@pytest.mark.parametrize("mask", [None, "keys", "pairs"])
@pytest.mark.parametrize("form", ["self", "past", "cross"])
def test_attention_bias(rng, form, mask, elements, heads):
    inputs = make(rng, **FORMS[form])
    keys = FORMS[form].get("keys", KEYS) + FORMS[form].get("past", 0)
    inputs["attention_bias"] = floats(rng, elements, heads, QUERIES, keys)
    if mask is not None:
        inputs["key_padding_mask"] = masks(rng, keys)[mask]
    compare(inputs, outputs_of(form))


@pytest.mark.parametrize("masked", [False, True])
def test_scores(rng, masked):
    inputs = make(rng, past=PAST)
    inputs["attention_bias"] = floats(rng, 1, 1, QUERIES, KEYS + PAST)
    if masked:
        inputs["key_padding_mask"] = masks(rng, KEYS + PAST)["keys"]
    # Not so far down that the scores are rounded.
    compare(inputs, [*OUTPUTS, "qk"], scale=0.4, mask_filter_value=-8.0)


def by_definition(q, k, v, **options):
    """From (batch, length, heads, dim)."""
    out = reference.attention(q, k, v, layout="BSHD", **options)
    return out.reshape(*out.shape[:2], -1)


@pytest.mark.parametrize("biased", [False, True])
def test_packed_queries_keys_and_values(rng, biased):
    """onnxruntime has them on GPUs only."""
    inputs = make(rng, "packed")
    q, k, v = np.moveaxis(inputs["query"], 3, 0)
    if biased:
        inputs["bias"] = floats(rng, HEADS * 3 * DIM)
        q, k, v = (x + b.reshape(HEADS, DIM) for x, b in zip((q, k, v), np.split(inputs["bias"], 3),
                                                           strict=True))  # fmt: skip
    (got,) = ours(results(inputs, ["output"], unidirectional=1), inputs)
    np.testing.assert_allclose(got, by_definition(q, k, v, causal=True), rtol=1e-5, atol=2e-6)


def test_packed_keys_and_values(rng):
    inputs = make(rng, "packed key", keys=9)
    q = inputs["query"].reshape(BATCH, QUERIES, HEADS, DIM)
    k, v = np.moveaxis(inputs["key"], 3, 0)
    (got,) = ours(results(inputs, ["output"]), inputs)
    np.testing.assert_allclose(got, by_definition(q, k, v), rtol=1e-5, atol=2e-6)


def test_a_past_in_a_buffer(rng):
    """As documented: of the buffer, past_sequence_length keys are there."""
    inputs = make(rng, past=12)
    inputs["past_sequence_length"] = np.array([PAST], np.int32)
    inputs["past_key"][:, :, PAST:] = np.nan
    got = ours(results(inputs, OUTPUTS, unidirectional=1), inputs)
    alone = dict(inputs, past_sequence_length=None)
    for name in ("past_key", "past_value"):
        alone[name] = np.ascontiguousarray(inputs[name][:, :, :PAST])
    expected = theirs(results(alone, OUTPUTS, unidirectional=1), alone)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5, atol=2e-6)
    for one, other, before in zip(got[1:], expected[1:], (inputs["past_key"], inputs["past_value"]),
                                  strict=True):  # fmt: skip
        np.testing.assert_array_equal(one[:, :, : PAST + KEYS], other)
        np.testing.assert_array_equal(one[:, :, PAST + KEYS :], before[:, :, PAST + KEYS :])


def test_half_precision(rng):
    inputs = {n: None if x is None else x.astype(np.float16) for n, x in make(rng).items()}
    (got,) = ours(results(inputs, ["output"]), inputs)
    q, k, v = (inputs[n].reshape(BATCH, -1, HEADS, DIM) for n in ("query", "key", "value"))
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, by_definition(q, k, v), rtol=1e-3, atol=1e-3)
