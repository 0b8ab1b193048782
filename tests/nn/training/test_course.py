"""The course of a training: order of examples, seeds, early stopping; perplexity."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from regard.nn.evaluation import perplexity
from regard.nn.training import Batches, EarlyStopping, load_checkpoint, save_checkpoint, step_seed


def test_an_epoch_has_every_example_once_and_each_its_own_order() -> None:
    batches = Batches(12, 4, seed=3)
    epochs = [np.concatenate([batches(step) for step in range(at, at + 3)]) for at in (0, 3, 6)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3
    np.testing.assert_array_equal(Batches(12, 4, seed=3)(7), batches(7))  # in any order of calls
    assert not np.array_equal(Batches(12, 4, seed=4)(0), batches(0))


def test_what_is_left_over_waits_for_the_next_epoch() -> None:
    batches = Batches(7, 3, seed=0)
    assert batches.steps_per_epoch == 2
    assert len({*batches(0).tolist(), *batches(1).tolist()}) == 6
    seen = {index for step in range(40) for index in batches(step).tolist()}
    assert seen == set(range(7))


@pytest.mark.parametrize("batch", [0, 8])
def test_a_batch_that_does_not_fit_is_refused(batch: int) -> None:
    with pytest.raises(ValueError, match="batch has to be 1 to examples=7"):
        Batches(7, batch)


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert max(seeds) > 2**63  # all bits are used


def course(stopping: EarlyStopping, losses: list[float]) -> list[tuple[bool, bool]]:
    state, found = stopping.init(), []
    for loss in losses:
        before = dict(state)
        after = stopping.update(state, loss)
        assert state == before
        state = after
        found.append((state["improved"], state["stop"]))
    return found


Y, N = True, False


@pytest.mark.parametrize(
    ("options", "losses", "expected"),
    [
        ({"patience": 1}, [2, 1, 1], [(Y, N), (Y, N), (N, Y)]),
        ({"patience": 2}, [2, 3, 1, 2, 2], [(Y, N), (N, N), (Y, N), (N, N), (N, Y)]),
        ({"patience": 2, "min_delta": 0.5}, [2, 1.6, 1.4], [(Y, N), (N, N), (Y, N)]),
        ({"patience": 1, "higher_is_better": True}, [0.1, 0.2, 0.1], [(Y, N), (Y, N), (N, Y)]),
        ({"patience": 2}, [math.nan, math.nan], [(N, N), (N, Y)]),
    ],
)
def test_early_stopping(options: Any, losses: list[float], expected: Any) -> None:
    assert course(EarlyStopping(**options), losses) == expected


def test_early_stopping_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="patience has to be at least 1"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="min_delta has to be at least 0"):
        EarlyStopping(patience=1, min_delta=-1.0)


def test_perplexity_is_the_geometric_mean_of_one_over_the_probabilities() -> None:
    chances = np.array([0.5, 0.1, 0.9, 0.01])
    expected = np.prod(chances) ** (-1 / 4)
    assert perplexity(-np.log(chances)) == pytest.approx(expected)
    halves = [-np.log(chances[:3]).mean(), -np.log(chances[3])]
    assert perplexity(halves, counts=[3, 1]) == pytest.approx(expected)


@pytest.mark.parametrize(("losses", "counts"), [([], None), ([1.0], [0]), ([1.0], [1, 2]),
                                                ([1.0, 2.0], [3, -1])])  # fmt: skip
def test_perplexity_refuses_counts_that_do_not_fit(losses: Any, counts: Any) -> None:
    with pytest.raises(ValueError, match="counts do not fit"):
        perplexity(losses, counts)


def test_without_safetensors_a_checkpoint_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"")
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (lambda: save_checkpoint(file, {}), lambda: load_checkpoint(file)):
        with pytest.raises(ImportError, match=r'pip install "regard\[nn\]"'):
            call()
    assert file.read_bytes() == b""
