"""A training that goes on from a checkpoint is the training that never stopped, bit for bit."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training_problems as problem
from regard.nn.training import (
    SGD,
    AdamW,
    Batches,
    EarlyStopping,
    clip_by_global_norm,
    load_checkpoint,
    save_checkpoint,
    schedules,
    step_seed,
)

pytest.importorskip("safetensors")

STOPPING = EarlyStopping(patience=3)
OPTIMIZERS = {
    "AdamW": AdamW(weight_decay=0.1),
    "SGD": SGD(momentum=0.9, nesterov=True, weight_decay=0.01),
}


def fresh(optimizer: Any, dtype: Any) -> dict[str, Any]:
    parameters = problem.parameters(dtype)
    return {
        "parameters": parameters,
        "optimizer": optimizer.init(parameters),
        "stopping": STOPPING.init(),
        "noise": np.random.default_rng(5).bit_generator.state,
    }


def train(optimizer: Any, state: dict[str, Any], until: int, losses: list[float]) -> dict[str, Any]:
    """Steps with shuffled examples, dropout, noise, clipping, and a schedule."""
    x, classes = problem.examples(50, state["parameters"]["first.bias"].dtype)
    batches, schedule = Batches(50, 8, seed=1), schedules.Cosine(0.05, steps=20, warmup=3)
    rng = np.random.default_rng()
    rng.bit_generator.state = state["noise"]
    parameters, of_optimizer, stopping = (
        state[name] for name in ("parameters", "optimizer", "stopping")
    )
    for step in range(of_optimizer["step"], until):
        rows = batches(step)
        inputs = x[rows] + x.dtype.type(0.1 * rng.standard_normal())
        loss, gradients = problem.loss_and_gradients(
            parameters, (inputs, classes[rows], step_seed(1, step))
        )
        gradients, _ = clip_by_global_norm(gradients, 1.0)
        parameters, of_optimizer = optimizer.update(
            parameters, gradients, of_optimizer, schedule(step)
        )
        stopping = STOPPING.update(stopping, loss)
        losses.append(loss)
    return {
        "parameters": parameters, "optimizer": of_optimizer, "stopping": stopping,
        "noise": rng.bit_generator.state,
    }  # fmt: skip


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    else:
        assert one == other


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_and_ten_more_are_twenty(name: str, dtype: Any, tmp_path: Path) -> None:
    optimizer, file = OPTIMIZERS[name], tmp_path / "run.safetensors"
    losses: list[float] = []
    whole = train(optimizer, fresh(optimizer, dtype), 20, losses)
    assert losses[-1] < losses[0]
    assert len({round(loss, 12) for loss in losses}) == 20
    parts: list[float] = []
    save_checkpoint(file, train(optimizer, fresh(optimizer, dtype), 10, parts))
    resumed = train(optimizer, load_checkpoint(file), 20, parts)
    assert parts == losses
    assert_same(resumed, whole)


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "tree.safetensors"
    tree = {
        "empty": {}, "none": None, "list": [1, [True, "a.b"]], "large": 2**127, "tiny": 5e-324,
        "infinite": -math.inf, "text": "我 喜欢 苹果",
        "arrays": {
            "layer.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "nan": np.array([np.nan, -0.0]), "scalar": np.array(3, np.int8),
            "bool": np.array([True, False]), "none": np.zeros((0, 4), np.float16),
            "deeper": {"words": np.arange(3, dtype=np.uint64)},
        },
    }  # fmt: skip
    before = copy.deepcopy(tree)
    save_checkpoint(file, tree)
    loaded = load_checkpoint(file)
    assert_same(loaded, before)
    loaded["arrays"]["nan"][0] = 1  # may go on being changed


def test_other_programs_can_read_the_parameters(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    file = tmp_path / "run.safetensors"
    save_checkpoint(file, {"parameters": problem.parameters(), "step": 3})
    tensors = load_file(file)
    assert tensors.keys() == {f"parameters/{name}" for name in problem.parameters()}


def test_a_write_that_fails_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.safetensors"
    save_checkpoint(file, {"step": 1})

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(file, {"step": 2})
    assert load_checkpoint(file) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_checkpoint_takes_the_place_of_the_last(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    for step in (1, 2):
        save_checkpoint(file, {"step": step})
    assert load_checkpoint(file) == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"a": {"b/c": 1}}, ValueError, "the key 'b/c' of a is no string"),
        ({1: 2}, ValueError, "the key 1 of the tree"),
        ({"a": {"b": np.float32(1)}}, TypeError, "a/b is of type float32"),
        ({"a": [np.ones(2)]}, TypeError, "a is of type ndarray"),
        ({"a": object()}, TypeError, "a is of type object"),
    ],
)
def test_what_would_not_come_back_is_refused(
    tree: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        save_checkpoint(tmp_path / "x", tree)
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "run.safetensors"
    save_checkpoint(file, {"x": np.ones(100)})
    data = file.read_bytes()
    for broken in (b"", data[:9], data[:-1], b"\xff" * 100):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="is no checkpoint, or is damaged"):
            load_checkpoint(file)
    save_file({"x": np.ones(3)}, file)
    with pytest.raises(ValueError, match="is no checkpoint"):
        load_checkpoint(file)
    later = json.dumps({"version": 2, "tree": {}})
    save_file({"x": np.ones(3)}, file, metadata={"regard.checkpoint": later})
    with pytest.raises(ValueError, match="is of version 2, and this release reads 1"):
        load_checkpoint(file)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none")
