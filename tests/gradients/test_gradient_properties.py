"""What gradients promise beyond their values: zeros, bits, buffers, pieces, poison."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from gradient_problems import (
    EXTRAS,
    OPTIONS,
    SHAPE,
    bits,
    check_gradients,
    gradients,
    option_problem,
    upstream,
    wanted,
)
from problems import assert_same_bits, make_problem
from regard import reference


@pytest.mark.parametrize("option", OPTIONS)
def test_threads(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    expected = bits(gradients(problem, dout, dlse, num_threads=1), names)
    for threads in (2, 3, 7):
        got = bits(gradients(problem, dout, dlse, num_threads=threads), names)
        assert_same_bits(got, expected)


def test_one_long_head_on_threads(isa, rng):
    """Blocks of one head take turns."""
    problem = make_problem(rng, queries=900, keys=900, head_dim=32, causal=True)
    dout, _ = upstream(rng, problem)
    expected = bits(gradients(problem, dout, num_threads=1))
    for threads in (2, 4):
        for _ in range(3):
            assert_same_bits(bits(gradients(problem, dout, num_threads=threads)), expected)


def test_threads_with_several_blocks_a_head(isa, rng):
    """Threads take a few heads at a time; what heads and elements share is summed in one order."""
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=450, keys=70, sinks=rng.standard_normal(4),
        alibi_slopes=rng.standard_normal((3, 4)), window=(200, 200),
    )  # fmt: skip
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    assert {"sinks", "alibi_slopes"} < set(names)
    expected = bits(gradients(problem, dout, dlse, num_threads=1), names)
    for threads in (2, 3, 5, 12):
        got = bits(gradients(problem, dout, dlse, num_threads=threads), names)
        assert_same_bits(got, expected)


@pytest.mark.parametrize("option", ["bias", "bias of heads"])
def test_gradients_of_a_row_of_scores_sum_to_zero(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    problem = problem.but(bias=np.broadcast_to(problem.options["bias"], SHAPE).copy())
    dout, _ = upstream(rng, problem)
    by_bias = gradients(problem, dout).bias
    size = np.abs(by_bias).sum(axis=-1).max()
    assert np.abs(by_bias.sum(axis=-1)).max() <= 32 * np.finfo(dtype).eps * size


def test_groups_equal_repeated_heads_summed(isa, dtype, rng):
    problem = option_problem(rng, "causal", dtype)
    dout, dlse = upstream(rng, problem)
    grouped = gradients(problem, dout, dlse)
    repeated = gradients(
        problem.but(key=np.repeat(problem.key, 2, 1), value=np.repeat(problem.value, 2, 1)),
        dout, dlse,
    )  # fmt: skip
    np.testing.assert_allclose(grouped.query, repeated.query, atol=64 * np.finfo(dtype).eps)
    for name in ("key", "value"):
        summed = getattr(repeated, name).reshape(2, 2, 2, 203, -1).sum(axis=2)
        atol = 64 * np.finfo(dtype).eps * np.abs(summed).max()
        np.testing.assert_allclose(getattr(grouped, name), summed, rtol=0, atol=atol)


def test_splitting_the_keys(isa, dtype, rng):
    """Parts merged by their LSEs, whose derivatives are those of the merge."""
    problem = option_problem(rng, "plain", dtype)
    dout, _ = upstream(rng, problem)
    whole = gradients(problem, dout)
    out = problem.attention().astype(np.float64)
    lse = problem.output_and_lse()[1].astype(np.float64)
    query, parts = 0.0, []
    for keys in (slice(0, 77), slice(77, 203)):
        part_out, vjp = regard.attention_vjp(
            problem.query, problem.key[..., keys, :], problem.value[..., keys, :]
        )
        # out = Σ w out_n with w = exp(lse_n - lse)
        w = np.exp(vjp.lse.astype(np.float64) - lse)[..., np.newaxis]
        by_lse = (w * dout * (part_out - out)).sum(axis=-1)
        grads = vjp((w * dout).astype(dtype), by_lse.astype(dtype))
        query = query + grads.query
        parts.append(grads)
    eps = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(query, whole.query, rtol=0, atol=eps * np.abs(whole.query).max())
    for name in ("key", "value"):
        joined = np.concatenate([getattr(part, name) for part in parts], axis=-2)
        expected = getattr(whole, name)
        np.testing.assert_allclose(joined, expected, rtol=0, atol=eps * np.abs(expected).max())


@pytest.mark.parametrize("option", ["causal", "all", "bias of keys", "sinks"])
def test_pieces_equal_calls(isa, dtype, rng, option):
    cu_q, cu_k = np.array([0, 100, 100, 131]), np.array([0, 70, 90, 203])
    sizes = (1, 4, 100, 113)
    options = OPTIONS[option](rng, sizes, dtype)
    options.pop("dropout", None)  # which counts pieces
    query, key, value = (
        rng.standard_normal((n, heads, 16)).astype(dtype)
        for n, heads in ((131, 4), (203, 2), (203, 2))
    )
    dout = rng.standard_normal((131, 4, 16)).astype(dtype)
    _, vjp = regard.varlen_attention_vjp(query, key, value, cu_q, cu_k, **options)
    dlse = rng.standard_normal(vjp.lse.shape).astype(dtype)
    names = ["query", "key", "value", *(n for n in EXTRAS if n in options)]
    grads = vjp(dout, dlse, wrt=names)
    expected = reference.varlen_gradients(dout, query, key, value, cu_q, cu_k, dlse=dlse, **options)
    eps = 256 * np.finfo(dtype).eps
    for name in names:
        one, other = getattr(grads, name), getattr(expected, name)
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=eps * np.abs(other).max())
    for n in range(3):
        rows, keys = slice(*cu_q[n : n + 2]), slice(*cu_k[n : n + 2])
        corner = {
            name: x[..., : rows.stop - rows.start, : keys.stop - keys.start]
            if name == "mask" or (name == "bias" and x.shape[-2] > 1)
            else x[..., : keys.stop - keys.start] if name == "bias" else x
            for name, x in options.items()
        }  # fmt: skip
        own = [x[s].swapaxes(0, 1) for x, s in ((query, rows), (key, keys), (value, keys))]
        if "bias" in corner and corner["bias"].ndim == 4:
            corner["bias"] = corner["bias"][0]
        _, alone = regard.attention_vjp(*own, **corner)
        part = alone(dout[rows].swapaxes(0, 1), dlse[:, rows])
        for name, s in (("query", rows), ("key", keys), ("value", keys)):
            assert_same_bits(getattr(grads, name)[s].swapaxes(0, 1), getattr(part, name))


def test_batch_does_not_matter(isa, dtype, rng):
    problem = option_problem(rng, "lengths", dtype)
    dout, dlse = upstream(rng, problem)
    together = gradients(problem, dout, dlse)
    for b in range(2):
        options = {n: x[b] if n.endswith("lengths") else x for n, x in problem.options.items()}
        alone = problem.but(
            query=problem.query[b], key=problem.key[b], value=problem.value[b], **options
        )
        got = bits(gradients(alone, dout[b], dlse[b]))
        assert_same_bits(got, tuple(x[b] for x in bits(together)))


@pytest.mark.parametrize(
    "shapes",
    [
        [(5, 3), (6, 3), (6, 2)],
        [(3,), (6, 3), (6, 2)],
        [(2, 4, 5, 3), (4, 6, 3), (1, 4, 6, 2)],
        [(4, 5, 3), (3, 1, 2, 6, 3), (2, 2, 6, 2)],
        [(2, 4, 0, 3), (2, 4, 6, 3), (2, 4, 6, 2)],
        [(2, 4, 5, 3), (2, 4, 0, 3), (2, 4, 0, 2)],
        [(0, 4, 5, 3), (0, 4, 6, 3), (0, 4, 6, 2)],
        [(2, 0, 5, 3), (2, 2, 6, 3), (2, 2, 6, 2)],
        [(2, 5, 3), (2, 6, 3), (2, 6, 0)],
    ],
)
def test_shapes(isa, rng, shapes):
    query, key, value = (rng.standard_normal(shape) for shape in shapes)
    out, vjp = regard.attention_vjp(query, key, value)
    dout = rng.standard_normal(out.shape)
    dlse = rng.standard_normal(vjp.lse.shape)
    expected = reference.gradients(dout, query, key, value, dlse=dlse)
    buffers = {name: np.full(x.shape, 3.0) for name, x in (("query", query), ("key", key))}
    grads = vjp(dout, dlse, out=buffers)
    for name in ("query", "key", "value"):
        one, other = getattr(grads, name), getattr(expected, name)
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_backward_from_saved_state(isa, dtype, rng):
    problem = option_problem(rng, "dropout", dtype)
    out, lse = problem.output_and_lse()
    dout, _ = upstream(rng, problem)
    arrays = problem.query, problem.key, problem.value
    grads = regard.attention_backward(dout, *arrays, out, lse, **problem.options)
    assert_same_bits(bits(grads), bits(gradients(problem, dout)))
    check_gradients(problem, grads, dout)


def test_central_differences_of_the_core(isa, rng):
    """Without the oracle: the gradients are those of what the forward pass computes."""
    problem = option_problem(rng, "all", np.float64)
    dout, dlse = upstream(rng, problem)
    grads = gradients(problem, dout, dlse)
    for name in ("query", "key", "value"):
        move = rng.standard_normal(getattr(problem, name).shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = problem.but(**{name: getattr(problem, name) + step * move})
            out, lse = moved.output_and_lse()
            ends.append((out * dout).sum() + (lse * dlse).sum())
        difference = (ends[0] - ends[1]) / 2e-6
        assert (getattr(grads, name) * move).sum() == pytest.approx(difference, rel=1e-5)
