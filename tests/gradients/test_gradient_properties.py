"""What gradients promise beyond their values: zeros, bits, buffers, pieces, poison."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from gradient_problems import EXTRAS, OPTIONS, check_gradients, gradients, upstream, wanted
from problems import LAYOUTS, assert_same_bits, make_problem
from regard import reference

SHAPE = (2, 4, 131, 203)


def option_problem(rng, option, dtype, **sizes):
    batch, heads, queries, keys = SHAPE
    return make_problem(
        rng, batch=(batch,), heads=heads, kv_heads=2, queries=queries, keys=keys, head_dim=16,
        value_dim=9, dtype=dtype, **OPTIONS[option](rng, SHAPE, dtype), **sizes,
    )  # fmt: skip


def bits(grads, names=("query", "key", "value")):
    return tuple(getattr(grads, name) for name in names)


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


def test_masked_keys_have_gradients_of_zero(isa, dtype, rng):
    problem = option_problem(rng, "plain", dtype)
    mask = rng.random((2, 1, 1, 203)) < 0.5
    dout, dlse = upstream(rng, problem)
    grads = gradients(problem.but(mask=mask), dout, dlse)
    hidden = ~mask[:, 0, 0]
    for name in ("key", "value"):
        of_keys = getattr(grads, name).swapaxes(-3, -2)
        assert (of_keys[hidden] == 0).all()
        assert (of_keys[~hidden] != 0).any()


@pytest.mark.parametrize("option", ["rows that see nothing", "sinks alone", "lengths"])
def test_rows_that_see_nothing(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    grads = gradients(problem, dout, dlse)
    blind = ~problem.sees.any(axis=-1)
    assert blind.any()
    assert (grads.query[blind] == 0).all()
    for name in wanted(problem):
        assert np.isfinite(getattr(grads, name)).all()


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


def poisoned(x, rows, value):
    x = x.copy()
    for n, first in enumerate(rows):
        x[n, :, first:] = value
    return x


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("option", ["causal", "all", "relative", "alibi", "dropout", "cosine"])
def test_masked_poison_does_not_leak(isa, dtype, rng, option, bad):
    """Padding in keys and queries, cut off by lengths or, in tiles that are computed, by a mask."""
    queries, keys = (100, 131), (150, 203)
    problem = option_problem(rng, option, dtype)
    mask = np.ones(SHAPE, bool)
    for n in range(2):
        mask[n, :, queries[n] :] = mask[n, ..., keys[n] :] = False
    if "mask" in problem.options:
        mask &= problem.options["mask"]
    dout, dlse = upstream(rng, problem)
    dirty = problem.but(
        query=poisoned(problem.query, queries, bad),
        key=poisoned(problem.key, keys, bad),
        value=poisoned(problem.value, keys, bad),
    )
    bad_dout = poisoned(dout, queries, bad)
    for changes in ({"mask": mask}, {"key_lengths": keys, "query_lengths": queries}):
        names = wanted(problem)
        expected = bits(gradients(problem.but(**changes), poisoned(dout, queries, 0), dlse), names)
        got = bits(gradients(dirty.but(**changes), bad_dout, dlse), names)
        for name, one, other in zip(names, got, expected, strict=True):
            np.testing.assert_array_equal(one, other, name)


def test_nan_stays_in_its_row_and_the_keys_it_sees(isa, dtype, rng):
    problem = option_problem(rng, "causal", dtype)
    query = problem.query.copy()
    query[0, 1, 40] = np.nan  # sees keys up to 40 + 203 - 131
    dout, _ = upstream(rng, problem)
    clean = gradients(problem, dout)
    grads = gradients(problem.but(query=query), dout)
    last = 40 + 203 - 131
    assert np.isnan(grads.query[0, 1, 40]).all()
    assert np.isnan(grads.key[0, 0, : last + 1]).all()
    assert np.isnan(grads.value[0, 0, : last + 1]).all()
    np.testing.assert_array_equal(grads.key[0, 0, last + 1 :], clean.key[0, 0, last + 1 :])
    np.testing.assert_array_equal(grads.value[0, 0, last + 1 :], clean.value[0, 0, last + 1 :])
    others = np.ones(SHAPE[:3], bool)
    others[0, 1, 40] = False
    np.testing.assert_array_equal(grads.query[others], clean.query[others])
    np.testing.assert_array_equal(grads.key[1], clean.key[1])


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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(isa, dtype, rng, layout):
    problem = option_problem(rng, "bias", dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    expected = bits(gradients(problem, dout, dlse), names)
    change = LAYOUTS[layout]
    moved = problem.but(
        query=change(problem.query), key=change(problem.key), value=change(problem.value),
        bias=change(problem.options["bias"]),
    )  # fmt: skip
    assert_same_bits(bits(gradients(moved, change(dout), change(dlse)), names), expected)
    if layout == "read-only":
        return
    buffers = {name: change(np.full_like(x, 7)) for name, x in zip(names, expected, strict=True)}
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    grads = vjp(dout, dlse, wrt=names, out=buffers)
    for name, x in zip(names, expected, strict=True):
        assert getattr(grads, name) is buffers[name]
        np.testing.assert_array_equal(buffers[name], x)


@pytest.mark.parametrize("option", ["lengths", "window", "rows that see nothing", "bias of all"])
def test_buffers_are_written_whole(isa, dtype, rng, option):
    """Also where nobody sees anything."""
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    expected = bits(gradients(problem, dout, dlse), names)
    buffers = {name: np.full_like(x, np.nan) for name, x in zip(names, expected, strict=True)}
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    vjp(dout, dlse, wrt=names, out=buffers)
    assert_same_bits(tuple(buffers.values()), expected)


def test_accumulate(isa, dtype, rng):
    problem = option_problem(rng, "all", dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    once = vjp(dout, dlse, wrt=names)
    buffers = {name: getattr(once, name).copy() for name in names}
    again = vjp(dout, dlse, wrt=names, out=buffers, accumulate=True)
    for name in names:
        one = getattr(once, name)
        atol = 16 * np.finfo(dtype).eps * np.abs(one).max()
        np.testing.assert_allclose(getattr(again, name), 2 * one, rtol=0, atol=atol)
    # A record of an earlier call can be given as it is.
    vjp(dout, dlse, wrt=names, out=again)
    assert_same_bits(bits(again, names), bits(once, names))


@pytest.mark.parametrize("option", ["plain", "all", "relative", "softcap"])
def test_wrt(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    everything = gradients(problem, dout, dlse)
    for name in names:
        alone = gradients(problem, dout, dlse, wrt=name)
        assert_same_bits(getattr(alone, name), getattr(everything, name))
        assert all(getattr(alone, n) is None for n in (*names, *EXTRAS) if n != name)


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


def test_bool_and_integer_inputs(rng):
    x = rng.integers(-2, 3, (2, 6, 4))
    out, vjp = regard.attention_vjp(x, x, x)
    grads = vjp(np.ones_like(out))
    assert grads.query.dtype == np.float64
    expected = reference.gradients(np.ones_like(out), x, x, x)
    np.testing.assert_allclose(grads.key, expected.key, atol=1e-14)
