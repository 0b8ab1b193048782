"""Being told what a call will do."""

from __future__ import annotations

import re

import numpy as np
import pytest

import regard
from problems import make_problem


def test_explain_tells_the_isa_and_the_kernel(isa, dtype, rng):
    problem = make_problem(rng, batch=(2,), heads=4, kv_heads=2, queries=70, keys=90, dtype=dtype)
    told = regard.explain(problem.query, problem.key, problem.value, causal=True)
    assert isinstance(told, regard.Explanation)
    assert told.isa == isa
    assert isinstance(told.kernel, str)
    assert told.kernel
    assert told.query_block >= 1
    assert told.key_tile >= 1
    assert told.units >= 1
    assert told.threads >= 1
    assert told.scratch_bytes >= 0
    assert isa in str(told)
    assert "\n" in str(told)


def test_explain_counts_threads(isa, rng):
    small = make_problem(rng)
    large = make_problem(rng, batch=(4,), heads=8, queries=512, keys=512, head_dim=64)
    explain = [
        regard.explain(p.query, p.key, p.value, num_threads=n)
        for p, n in ((small, 2), (large, 1), (large, 2))
    ]
    assert [told.threads for told in explain] == [1, 1, 2]


def test_explain_does_not_compute_and_writes_nothing(isa, rng):
    """Sizes that would take an hour, from arrays of one element."""
    x = np.broadcast_to(np.float32(1), (1, 64, 1 << 20, 64))
    assert regard.explain(x, x, x).units > 1000


def test_explain_of_every_option(isa, rng, dtype):
    problem = make_problem(
        rng, queries=50, keys=70, dtype=dtype, causal=True, window=(3, None), key_lengths=60,
        mask=np.ones((50, 70), dtype=bool), bias=np.zeros((50, 70), dtype=dtype), scale=0.5,
        return_lse=True, out=np.zeros((1, 50, 8), dtype=dtype), num_threads=2,
    )  # fmt: skip
    told = regard.explain(problem.query, problem.key, problem.value, **problem.options)
    assert told.isa == isa


def test_explain_raises_as_the_call_does(isa, rng):
    problem = make_problem(rng)
    for bad in ({"causal": "up"}, {"mask": np.ones((3, 3), dtype=bool)}, {"num_threads": 0}):
        with pytest.raises(ValueError, match="attention: ") as called:
            problem.attention(**bad)
        said = re.escape(str(called.value).removeprefix("attention: "))
        with pytest.raises(ValueError, match=f"^explain: {said}"):
            regard.explain(problem.query, problem.key, problem.value, **bad)


CALLS = {
    "attention": "forward",
    "attention_weights": "weights",
    "attention_summary": "summary",
    "attention_vjp": "backward",
    "attention_jvp": "tangent",
}


def explained(problem, call, **more):
    arrays = [problem.query, problem.key, problem.value]
    if call in ("attention_weights", "attention_summary"):
        arrays.pop()
    return regard.explain(*arrays, call=call, **problem.options, **more)


@pytest.mark.parametrize("call", CALLS)
def test_explain_of_every_call(isa, dtype, rng, call):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=500, keys=700, head_dim=64, dtype=dtype,
        causal=True, softcap=5.0, alibi_slopes=np.ones(4) / 8, query_scale=np.ones(500),
        num_threads=2,
    )  # fmt: skip
    told = explained(problem, call)
    assert told.kernel == f"{CALLS[call]}/{isa}/{np.dtype(dtype).name}"
    assert told.options == "query scale, softcap, alibi"
    assert told.threads == 2
    assert told.scratch_bytes > 0
    assert told.heads_a_unit == (2 if call in ("attention", "attention_vjp") else 1)
    assert told.units * told.query_block >= 2 * 4 * 500 or call == "attention_summary"
    values = ("value_dtype", "value_dim", "value_in_place")
    shown = [line.split()[0] for line in str(told).splitlines()]
    takes_values = call not in ("attention_weights", "attention_summary")
    assert [name in shown for name in values] == [takes_values] * 3
    assert "None" not in str(told)


def test_explain_counts_the_units_of_weights_and_tangents(rng):
    problem = make_problem(rng, batch=(3,), heads=2, queries=1000, keys=40)
    weights = explained(problem, "attention_weights")
    assert weights.units == 3 * 2 * -(-1000 // weights.query_block)
    tangents = explained(problem, "attention_jvp")
    assert tangents.units == 3 * 2 * -(-1000 // tangents.query_block)


def test_explain_of_a_summary_counts_its_best_keys(rng):
    problem = make_problem(rng, queries=100, keys=400)
    scratch = [explained(problem, "attention_summary", top_k=n).scratch_bytes for n in (1, 300)]
    assert scratch[0] < scratch[1]
    with pytest.raises(ValueError, match="top_k is -1"):
        explained(problem, "attention_summary", top_k=-1)


def test_explain_of_gradients_waits_for_shared_biases(rng):
    """A position bias keeps heads apart, and its table takes scratch memory."""
    problem = make_problem(rng, heads=4, kv_heads=2, queries=200, keys=300)
    table = regard.bias.Relative(np.zeros((401, 4)))
    plain = explained(problem, "attention_vjp")
    biased = explained(problem.but(position_bias=table), "attention_vjp")
    assert (plain.heads_a_unit, biased.heads_a_unit) == (2, 1)
    assert biased.scratch_bytes >= plain.scratch_bytes + 401 * 8


def test_explain_of_packed_gradients(rng):
    x = rng.standard_normal((30, 2, 8))
    told = regard.explain(x, x, x, [0, 10, 30], [0, 10, 30], call="attention_vjp")
    assert told.algorithm == "backward"
    assert told.batch == 2


WRONG = {
    "unknown": ({"call": "attend"}, ValueError, "call is 'attend'"),
    "no word": ({"call": ["attention"]}, ValueError, "call is"),
    "no value": ({"call": "attention_jvp"}, TypeError, "value is missing"),
    "no value, plain": ({}, TypeError, "value is missing"),
    "dropout of weights": ({"call": "attention_weights", "dropout": 0.5}, TypeError, "dropout"),
    "lse of a vjp": ({"call": "attention_vjp", "value": 1, "return_lse": True}, TypeError, "LSE"),
    "packed weights": (
        {"call": "attention_weights", "cu_seqlens_q": [0, 5]}, TypeError, "packed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_explain_refuses(rng, case):
    given, error, message = WRONG[case]
    problem = make_problem(rng)
    if "value" in given:
        given = given | {"value": problem.value}
    with pytest.raises(error, match=message):
        regard.explain(problem.query, problem.key, **given)
