"""Which token the language model of the examples says next."""

from __future__ import annotations

import numpy as np
import pytest

from smollm2_chats import module


def test_greedy_takes_the_likeliest() -> None:
    sampler = module("sampling").Sampler(temperature=0, top_k=3)
    assert sampler(np.array([1, 3, 2], np.float32)) == 1


@pytest.mark.parametrize(
    ("options", "tokens", "probabilities"),
    [
        ({}, [2, 0, 3, 1], [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 2}, [2, 0], [0.625, 0.375]),
        ({"top_k": 9}, [2, 0, 3, 1], [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.5 - 1e-6}, [2], [1]),
        ({"top_p": 0.5 + 1e-6}, [2, 0], [0.625, 0.375]),
        ({"top_k": 3, "top_p": 0.9}, [2, 0, 3], [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95]),
        ({"temperature": 0.5, "top_k": 2}, [2, 0], [25 / 34, 9 / 34]),
        ({"temperature": 1e-9}, [2], [1]),
    ],
)
def test_what_can_be_drawn(
    options: dict[str, float], tokens: list[int], probabilities: list[float]
) -> None:
    logits = np.log(np.array([0.3, 0.05, 0.5, 0.15], np.float32))
    sampler = module("sampling").Sampler(**{"temperature": 1, **options})
    got = sampler.candidates(logits)
    assert list(got[0]) == tokens
    np.testing.assert_allclose(got[1], probabilities, rtol=1e-6, atol=1e-300)


def test_draws_follow_the_seed_and_the_probabilities() -> None:
    logits = np.log(np.array([0.3, 0.05, 0.5, 0.15], np.float32))
    draws = []
    for seed in (1, 1, 2):
        sampler = module("sampling").Sampler(temperature=1, seed=seed)
        draws.append([sampler(logits) for _ in range(2000)])
    assert draws[0] == draws[1] != draws[2]
    shares = np.bincount(draws[0], minlength=4) / 2000
    np.testing.assert_allclose(shares, [0.3, 0.05, 0.5, 0.15], rtol=0, atol=0.05)
