"""RotaryEmbedding of both domains: against onnxruntime, and turned back."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_nodes import MICROSOFT, node, ours, theirs

BATCH, HEADS, LENGTH, DIM, MOST = 2, 3, 4, 16, 9


def make(rng, axes, turned, positions):
    shape = (BATCH, LENGTH, HEADS * DIM) if axes == 3 else (BATCH, HEADS, LENGTH, DIM)
    angles = rng.uniform(0, 6, (MOST, turned // 2)).astype(np.float32)
    ids = {"each": rng.integers(0, MOST, (BATCH, LENGTH)), "first": np.array([3])}[positions]
    x = rng.standard_normal(shape, dtype=np.float32)
    return x, np.cos(angles), np.sin(angles), ids


@pytest.mark.parametrize("positions", ["each", "first"])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize(("axes", "turned"), [(3, 16), (3, 8), (4, 16)])
def test_contrib(rng, axes, turned, interleaved, positions):
    x, cos, sin, ids = make(rng, axes, turned, positions)
    inputs = {"input": x, "position_ids": ids, "cos_cache": cos, "sin_cache": sin}
    part = {"rotary_embedding_dim": turned, "num_heads": HEADS} if turned < DIM else {}
    model = node("RotaryEmbedding", inputs, ["output"], MICROSOFT, interleaved=interleaved, **part)
    np.testing.assert_allclose(
        ours(model, inputs)[0], theirs(model, inputs)[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("given", [True, False], ids=["position_ids", "rows"])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [8, 16])
@pytest.mark.parametrize("axes", [3, 4])
def test_standard(rng, axes, turned, interleaved, given):
    x, cos, sin, ids = make(rng, axes, turned, "each")
    inputs = {"X": x, "cos_cache": cos, "sin_cache": sin, "position_ids": ids}
    if not given:
        inputs |= {"cos_cache": cos[ids], "sin_cache": sin[ids], "position_ids": None}
    attributes = {"interleaved": interleaved}
    if axes == 3:
        attributes["num_heads"] = HEADS
    if turned < DIM:
        attributes["rotary_embedding_dim"] = turned
    model = node("RotaryEmbedding", inputs, ["Y"], **attributes)
    np.testing.assert_allclose(
        ours(model, inputs)[0], theirs(model, inputs)[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_once(rng, dtype):
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)
    x, cos, sin, ids = make(rng, 4, DIM, "each")
    x, cos, sin = (a.astype(dtype) for a in (x, cos, sin))
    inputs = {"X": x, "cos_cache": cos, "sin_cache": sin, "position_ids": ids}
    (got,) = ours(node("RotaryEmbedding", inputs, ["Y"]), inputs)
    wide = {n: a if n == "position_ids" else a.astype(np.float32) for n, a in inputs.items()}
    (expected,) = ours(node("RotaryEmbedding", wide, ["Y"]), wide)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected.astype(dtype))
