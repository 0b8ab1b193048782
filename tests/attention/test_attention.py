"""The numbers: every ISA and dtype against the oracle, and against a naive evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import NAIVE_RATIO, Problem, check, make_problem, naive

# Shapes just above the tiles' edges: blocks hold up to 64 queries, tiles up to 256 keys, registers
# up to 16 columns.
SHAPES = {
    "tiny": {"queries": 1, "keys": 1, "head_dim": 1},
    "one query": {"queries": 1, "keys": 700, "head_dim": 64, "heads": 2},
    "eight queries": {"queries": 8, "keys": 530, "head_dim": 40},
    "one key": {"queries": 70, "keys": 1, "head_dim": 16},
    "one tile": {"queries": 48, "keys": 64, "head_dim": 64},
    "over one tile": {"queries": 49, "keys": 65, "head_dim": 64},
    "over two blocks": {"queries": 129, "keys": 257, "head_dim": 64},
    "several tiles": {"queries": 100, "keys": 1030, "head_dim": 32},
    "head_dim 80": {"queries": 65, "keys": 129, "head_dim": 80},
    "head_dim 96": {"queries": 65, "keys": 129, "head_dim": 96},
    "head_dim 128": {"queries": 65, "keys": 257, "head_dim": 128},
    "head_dim 129": {"queries": 50, "keys": 66, "head_dim": 129},
    "head_dim 256": {"queries": 50, "keys": 66, "head_dim": 256},
    "head_dim 320": {"queries": 17, "keys": 70, "head_dim": 320},
    "value_dim 1": {"queries": 50, "keys": 66, "head_dim": 24, "value_dim": 1},
    "value_dim 17": {"queries": 50, "keys": 66, "head_dim": 24, "value_dim": 17},
    "value_dim > head_dim": {"queries": 50, "keys": 66, "head_dim": 8, "value_dim": 200},
    "batch": {"batch": (3,), "heads": 4, "queries": 33, "keys": 40, "head_dim": 24},
    "two batch axes": {"batch": (2, 3), "heads": 2, "queries": 9, "keys": 10, "head_dim": 12},
    "group of 4": {"batch": (2,), "heads": 8, "kv_heads": 2, "queries": 50, "keys": 70},
    "group of 3, one query": {"heads": 6, "kv_heads": 2, "queries": 1, "keys": 300},
    "one kv head": {"heads": 7, "kv_heads": 1, "queries": 13, "keys": 70, "head_dim": 33},
    "BERT": {"batch": (1,), "heads": 2, "queries": 128, "keys": 128, "head_dim": 64},
    "MiniLM": {"batch": (2,), "heads": 3, "queries": 64, "keys": 64, "head_dim": 32},
    "ViT": {"heads": 2, "queries": 197, "keys": 197, "head_dim": 64},
}


def options_for(rng: np.random.Generator, problem: Problem) -> dict[str, dict]:
    """One of each option, and some together, for the problem's sizes. Every row sees a key."""
    *batch, heads, queries, keys = problem.score_shape
    dtype = problem.query.dtype
    mask = rng.random((queries, keys)) < 0.7
    mask[:, 0] = True
    bias = rng.standard_normal((heads, queries, keys)).astype(dtype)
    lengths = np.maximum(keys - rng.integers(0, keys, size=batch), 1)
    return {
        "plain": {},
        "causal": {"causal": True},
        "upper_left": {"causal": "upper_left"},
        "window": {"window": (40, 9)},
        "causal window": {"causal": True, "window": (70, None)},
        "mask": {"mask": mask},
        "bias": {"bias": bias},
        "key_lengths": {"key_lengths": lengths},
        "scale": {"scale": 0.37},
        "scale 0": {"scale": 0.0},
        "negative scale": {"scale": -0.2},
        "mask, bias, causal": {"mask": mask, "bias": bias, "causal": True},
        "everything": {
            "causal": "lower_right",
            "window": (70, 3),
            "mask": mask,
            "bias": bias,
            "key_lengths": lengths,
            "scale": 0.1,
        },
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(isa, dtype, rng, shape):
    problem = make_problem(rng, dtype=dtype, **SHAPES[shape])
    check(problem)
    check(problem.but(causal=True))


@pytest.mark.parametrize("option", options_for(np.random.default_rng(), make_problem(
    np.random.default_rng())))  # fmt: skip
@pytest.mark.parametrize(
    "shape", ["one query", "over one tile", "over two blocks", "several tiles", "group of 4"]
)
def test_options(isa, dtype, rng, shape, option):
    problem = make_problem(rng, dtype=dtype, **SHAPES[shape])
    check(problem.but(**options_for(rng, problem)[option]))


@pytest.mark.parametrize("head_dim", [*range(1, 35), 47, 48, 49, 63, 65, 72, 100, 112, 127, 130])
def test_every_head_dim(isa, dtype, rng, head_dim):
    check(make_problem(rng, queries=19, keys=37, head_dim=head_dim, dtype=dtype))
    check(make_problem(rng, queries=50, keys=70, head_dim=9, value_dim=head_dim, dtype=dtype))


@pytest.mark.parametrize("queries", [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65])
def test_every_edge_of_a_query_block(isa, dtype, rng, queries):
    for keys in (1, 3, 8, 63, 64, 65, 127, 129, 255, 256, 257):
        check(make_problem(rng, queries=queries, keys=keys, head_dim=20, dtype=dtype, causal=True))


# Enough rows each for a mean: of a single row either side may be lucky by a factor of ten.
MANY_ROWS = {
    "one query": {"batch": (32,), "heads": 4, "kv_heads": 2, "queries": 1, "keys": 400},
    "few queries": {"batch": (8,), "heads": 4, "queries": 5, "keys": 300, "head_dim": 64},
    "short": {"batch": (2,), "heads": 3, "queries": 64, "keys": 64, "head_dim": 32},
    "over two blocks": {"heads": 2, "queries": 129, "keys": 257, "head_dim": 64},
    "several tiles": {"heads": 2, "queries": 100, "keys": 1030, "head_dim": 80},
}


@pytest.mark.parametrize("shape", MANY_ROWS)
@pytest.mark.parametrize("magnitude", [1, 4, 30])
@pytest.mark.parametrize("option", ["plain", "mask, bias, causal"])
def test_no_worse_than_naive(isa, dtype, rng, shape, magnitude, option):
    """Our error is at most NAIVE_RATIO times that of NumPy in the same precision."""
    precise = np.float64 if dtype == np.float32 else np.longdouble
    if np.finfo(precise).eps >= np.finfo(dtype).eps:
        pytest.skip("no wider type here to tell the errors by")
    problem = make_problem(rng, dtype=dtype, **MANY_ROWS[shape])
    # Queries this large spread the scores, so that few weights matter and tiles rescale.
    problem = problem.but(query=problem.query * dtype(magnitude))
    problem = problem.but(**options_for(rng, problem)[option])
    for got, numpys, exact in zip(
        problem.output_and_lse(), naive(problem, dtype), naive(problem, precise), strict=True
    ):
        # Half an eps of its own value is what rounding an exact result to the dtype may cost.
        rounding = np.finfo(dtype).eps / 2 * _rms(exact)
        assert _rms(got - exact) <= NAIVE_RATIO * _rms(numpys - exact) + rounding


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.longdouble))))


@pytest.mark.parametrize("keys", [64, 300, 700])
def test_weights_by_themselves(isa, dtype, keys):
    """Values that pick out each weight, and scores without rounding: what is left is the error of
    exp2 (2 eps), of the sum and of the division."""
    score = np.linspace(-4, 0, keys + 1, dtype=dtype)[:keys]
    score = np.round(score * 256) / 256
    query, key = np.ones((50, 1), dtype=dtype), score[:, np.newaxis]
    got = regard.attention(query, key, np.eye(keys, dtype=dtype), scale=1.0)
    exact = np.exp(score.astype(np.longdouble))
    error = np.abs(got / (exact / exact.sum()) - 1) / np.finfo(dtype).eps
    # A score times log2(e) is rounded to half an eps of itself: |score|/2 in the weight.
    assert (error <= 4 + np.abs(score) / 2).all()


def test_long_rows_do_not_lose_precision(isa, rng):
    """The sum over 20,000 equal weights: a plain float32 running sum drifts by 1e-4 and more."""
    keys = 20_000
    query = np.zeros((1, 3, 4), dtype=np.float32)
    key = rng.standard_normal((1, keys, 4)).astype(np.float32)
    value = rng.random((1, keys, 3)).astype(np.float32)
    out, lse = regard.attention(query, key, value, return_lse=True)
    np.testing.assert_allclose(out[0, 0], value[0].mean(axis=0, dtype=np.float64), rtol=2e-5)
    np.testing.assert_allclose(lse, np.log(keys), rtol=2e-6)


@pytest.mark.parametrize("scale", [0, 1, -3, np.float32(0.5), np.int64(2)])
def test_scale_may_be_any_real_number(isa, dtype, rng, scale):
    problem = make_problem(rng, dtype=dtype, queries=9, keys=20)
    check(problem.but(scale=scale), problem.output_and_lse(scale=scale))


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint16, np.int32, np.int64])
def test_integers_and_bools_promote_to_float64(isa, rng, kind):
    query, key, value = (rng.integers(0, 2, (2, 5, 3)).astype(kind) for _ in range(3))
    out, lse = regard.attention(query, key, value, return_lse=True)
    assert out.dtype == lse.dtype == np.float64
    wide = (a.astype(np.float64) for a in (query, key, value))
    np.testing.assert_array_equal(out, regard.attention(*wide))
    check(Problem(query, key, value), (out, lse))


def test_lists_are_arrays():
    x = [[1, 0], [0, 1], [1, 1], [0, 0]]
    expected = regard.reference.attention(x, x, x, scale=1.0)
    np.testing.assert_allclose(regard.attention(x, x, x, scale=1.0), expected, rtol=1e-14)


class Tensor:
    """What another library's CPU tensor looks like from outside."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_tensors_that_speak_dlpack(isa, dtype, rng):
    problem = make_problem(rng, heads=2, dtype=dtype)
    tensors = (Tensor(a) for a in (problem.query, problem.key, problem.value))
    got = regard.attention(*tensors, bias=Tensor(np.ones((5, 7), dtype)), return_lse=True)
    assert type(got[0]) is np.ndarray
    check(problem.but(bias=np.ones((5, 7), dtype)), got)


def test_output_is_a_new_contiguous_array_of_the_query_s_dtype(isa, dtype, rng):
    problem = make_problem(rng, batch=(2,), heads=3, dtype=dtype)
    out, lse = problem.output_and_lse()
    assert type(out) is type(lse) is np.ndarray
    assert out.dtype == lse.dtype == dtype
    assert out.flags.c_contiguous
    assert out.flags.owndata
    assert out.flags.writeable
    assert out.shape == (2, 3, 5, 8)
    assert lse.shape == (2, 3, 5)
    np.testing.assert_array_equal(problem.attention(), out)


def test_inputs_are_left_alone(isa, dtype, rng):
    problem = make_problem(rng, heads=2, queries=50, keys=70, dtype=dtype).but(
        causal=True,
        mask=rng.random((50, 70)) < 0.5,
        bias=rng.standard_normal((50, 70)).astype(dtype),
        key_lengths=np.array(60),
    )
    arrays = [problem.query, problem.key, problem.value, *problem.options.values()]
    before = [np.copy(a) for a in arrays]
    problem.attention()
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
