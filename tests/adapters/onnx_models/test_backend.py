"""The backend, through onnx's own test suite: every case of attention and rotary embeddings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("onnx")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of onnx's cases for other operators, as they are made
    import onnx.backend.test

import regard.onnx


@pytest.fixture(scope="module")
def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite = onnx.backend.test.BackendTest(regard.onnx.Backend, __name__)
    tests = suite.test_cases["OnnxBackendNodeModelTest"]
    names = [n for n in vars(tests) if n.startswith("test_") and n.endswith("_cpu")]
    return tests, [n for n in names if "attention" in n or "rotary" in n]


def test_no_case_is_missing(cases):
    """As many as the onnx release that the operators are written to, 1.23, or more."""
    _, names = cases
    expanded = [n for n in names if "expanded" in n]
    standard = [n for n in names if "flex" not in n and "linear" not in n and n not in expanded]
    assert len(standard) >= 93 + 8
    assert len(names) >= 252


def test_every_case_passes(cases):
    tests, names = cases
    failed = {}
    for name in names:
        with warnings.catch_warnings():
            # Of the reference evaluator's other operators, on the NaN that some cases hold.
            warnings.simplefilter("ignore")
            result = tests(name).run()
        assert not result.skipped, name
        for _, traceback in result.failures + result.errors:
            failed[name] = traceback
    assert not failed, "\n".join(failed.values())


@pytest.mark.parametrize(
    ("function", "kind"), [("regard.onnx._compute.regard.attention", "test_attention_4d_cpu"),
                           ("regard.onnx._rotary.turned", "test_rotary_embedding_cpu")]
)  # fmt: skip
def test_cases_are_run_by_regard(cases, monkeypatch, function, kind):
    calls = []

    def broken(*_, **__):
        calls.append(1)
        raise ValueError("attention: broken")

    monkeypatch.setattr(function, broken)
    result = cases[0](kind).run()
    assert calls
    assert len(result.errors) == 1


def test_inputs_by_place_or_name():
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 23]>
        g (float[1, 2, 8, 4] Q, float[1, 2, 8, 4] K) => (float[1, 2, 8, 4] Y)
        { Y = Attention (Q, K, K) }
    """)
    q, k = np.random.default_rng(0).standard_normal((2, 1, 2, 8, 4), dtype=np.float32)
    prepared = regard.onnx.Backend.prepare(model)
    (one,), (other,) = prepared.run([q, k]), prepared.run({"K": k, "Q": q})
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, regard.attention(q, k, k))
    with pytest.raises(ValueError, match="3 inputs, and the model has 2"):
        prepared.run([q, k, k])


def test_other_devices_are_refused():
    assert regard.onnx.Backend.supports_device("CPU")
    assert not regard.onnx.Backend.supports_device("CUDA:0")
    with pytest.raises(ValueError, match="device is 'CUDA'"):
        regard.onnx.Backend.prepare(onnx.ModelProto(), "CUDA")
