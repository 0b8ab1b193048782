"""varlen_attention: packed pieces are what each of them is by itself, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from problems import LAYOUTS, assert_same_bits, check, make_problem
from regard import bias, reference
from regard.reference.philox import factors

# Lengths of queries and keys: some empty, some next to the edges of blocks and tiles.
PIECES = {
    "one": ([50], [70]),
    "short": ([3, 1, 7, 5, 2], [3, 1, 7, 5, 2]),
    "edges": ([1, 49, 193, 64, 48], [65, 128, 1, 257, 63]),
    "some empty": ([0, 5, 0, 66, 9, 0], [4, 0, 0, 140, 9, 3]),
    "none": ([], []),
    "all empty": ([0, 0], [0, 0]),
}


def cuts(lengths, dtype=np.int64) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(dtype)


def packed(rng, name, dtype, *, heads=4, kv_heads=2, head_dim=24, value_dim=17) -> tuple:
    """Query, key and value of (total, heads, dim), and where the pieces begin and end."""
    rows, keys = PIECES[name]

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return (
        normal(sum(rows), heads, head_dim),
        normal(sum(keys), kv_heads, head_dim),
        normal(sum(keys), kv_heads, value_dim),
        cuts(rows),
        cuts(keys),
    )


def piece(arguments: tuple, n: int) -> tuple:
    """Query, key and value of piece n, as (heads, length, dim)."""
    query, key, value, cu_q, cu_k = arguments
    rows, keys = slice(*cu_q[n : n + 2]), slice(*cu_k[n : n + 2])
    return tuple(np.moveaxis(x, 0, 1) for x in (query[rows], key[keys], value[keys]))


def both(arguments: tuple, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return regard.varlen_attention(*arguments, return_lse=True, **options)


def check_pieces(arguments: tuple, name: str, got: tuple, of_piece: Any) -> None:
    """Each piece equals the call by itself, with the options that of_piece has for it."""
    out, lse = got
    query, _, value, cu_q, _ = arguments
    assert out.shape == (*query.shape[:2], value.shape[-1])
    assert lse.shape == (query.shape[1], query.shape[0])
    assert out.dtype == lse.dtype == query.dtype
    for n, sizes in enumerate(zip(*PIECES[name], strict=True)):
        rows = slice(*cu_q[n : n + 2])
        alone = regard.attention(*piece(arguments, n), return_lse=True, **of_piece(n, *sizes))
        assert_same_bits((np.moveaxis(out[rows], 0, 1), lse[:, rows]), alone)


SHARED = {
    "plain": {},
    "causal": {"causal": True},
    "upper_left": {"causal": "upper_left", "window": (40, None)},
    "window": {"window": (5, 3)},
    "windows of heads": {"window": (np.array([0, 3, -1, 70]), 9)},
    "scale of heads": {"scale": np.array([0.1, 0.0, -0.3, 0.2]), "softcap": 2.0},
    "alibi": {"alibi_slopes": np.array([0.5, 0.25, 0.125, 0.0])},
    "sinks": {"sinks": np.array([0.0, -2.0, 3.0, -np.inf])},
    "cosine": {"similarity": "cosine", "scale": 10.0},
    "query_offset": {"query_offset": 5, "causal": True},
    "Relative": {"position_bias": bias.Relative(np.linspace(-1, 1, 84).reshape(21, 4))},
    "T5": {"position_bias": bias.T5(np.linspace(-1, 1, 32))},
}


@pytest.mark.parametrize("option", SHARED)
@pytest.mark.parametrize("name", PIECES)
def test_pieces_one_by_one(isa, dtype, rng, name, option):
    arguments = packed(rng, name, dtype)
    got = both(arguments, **SHARED[option])
    check_pieces(arguments, name, got, lambda n, rows, keys: SHARED[option])


@pytest.mark.parametrize("name", [n for n in PIECES if n != "one"])
def test_agrees_with_the_oracle(isa, dtype, rng, name):
    arguments = packed(rng, name, dtype)
    for options in ({"causal": True}, {"dropout": 0.3, "seed": 2**33 + 1}):
        got = both(arguments, **options)
        expected = reference.varlen_attention(*arguments, return_lse=True, **options)
        eps = 60 * float(np.finfo(dtype).eps)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=eps, atol=eps)


@pytest.mark.parametrize("name", ["edges", "some empty"])
def test_options_of_pieces(isa, dtype, rng, name):
    """The pieces are the batch axis of what has one."""
    arguments = packed(rng, name, dtype)
    rows, keys = (np.array(x) for x in PIECES[name])
    of_pieces = {
        "key_lengths": rng.integers(0, keys + 1),
        "query_lengths": rng.integers(0, rows + 1),
        "query_offset": rng.integers(-9, 30, len(rows)),
        "alibi_slopes": rng.random((len(rows), 4)),
    }
    for names in ([n] for n in of_pieces):
        given = {n: of_pieces[n] for n in names} | {"causal": True}
        got = both(arguments, **given)
        check_pieces(
            arguments, name, got,
            lambda n, rows, keys, names=names: {x: of_pieces[x][n] for x in names}
            | {"causal": True},
        )  # fmt: skip
    got = both(arguments, **of_pieces)
    check_pieces(arguments, name, got, lambda n, *_: {x: of_pieces[x][n] for x in of_pieces})


@pytest.mark.parametrize("lead", [(), (4,), (1, 1), (-1, 1), (1, 4), (-1, 4)])
@pytest.mark.parametrize("kind", ["mask", "packed mask", "bias"])
def test_masks_and_biases_of_pieces(isa, dtype, rng, kind, lead):
    """They broadcast to (pieces, heads, longest, longest); a piece has the upper left corner."""
    name = "edges"
    arguments = packed(rng, name, dtype)
    rows, keys = PIECES[name]
    lead = tuple(len(rows) if n == -1 else n for n in lead)
    whole = (len(rows), 4, max(rows), max(keys))
    if kind == "bias":
        x = rng.standard_normal((*lead, *whole[2:])).astype(dtype)
        x[rng.random(x.shape) < 0.2] = -np.inf
    else:
        x = rng.random((*lead, *whole[2:])) < 0.5
    full = np.broadcast_to(x, whole)
    option = "bias" if kind == "bias" else "mask"
    given = regard.PackedMask.from_dense(x) if kind == "packed mask" else x
    got = both(arguments, **{option: given})
    check_pieces(arguments, name, got, lambda n, m, k: {option: full[n, :, :m, :k]})


def test_dropout_numbers_the_pieces(isa, dtype, rng):
    """The piece's number is the element's: what is kept is what the generator says."""
    lengths = [3, 70, 9]
    arrays = (np.zeros((sum(lengths), 2, 1), dtype) for _ in range(2))
    value = np.concatenate([np.eye(n, 70, dtype=dtype) for n in lengths])
    value = np.repeat(value[:, np.newaxis], 2, axis=1)
    out = regard.varlen_attention(
        *arrays, value, cuts(lengths), cuts(lengths), dropout=0.5, seed=77
    )
    for n, (first, length) in enumerate(zip(cuts(lengths), lengths, strict=False)):
        kept = np.moveaxis(out[first : first + length, :, :length], 0, 1) != 0
        expected = factors(0.5, 77, np.array([n]), (2, length, length))[0] != 0
        np.testing.assert_array_equal(kept, expected)


def test_pieces_of_equal_length_are_a_batch(isa, dtype, rng):
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=20, keys=70, dtype=dtype, causal=True,
        dropout=0.2, seed=4,
    )  # fmt: skip
    arrays = (
        np.ascontiguousarray(np.moveaxis(x, 1, 2)).reshape(-1, x.shape[1], x.shape[3])
        for x in (problem.query, problem.key, problem.value)
    )
    out, lse = regard.varlen_attention(
        *arrays, cuts([20] * 3), cuts([70] * 3), return_lse=True, **problem.options
    )
    expected = problem.output_and_lse()
    check(problem, expected)
    got = np.moveaxis(out.reshape(3, 20, 4, 8), 2, 1), np.moveaxis(lse.reshape(4, 3, 20), 0, 1)
    assert_same_bits(got, expected)


@pytest.mark.parametrize("kind", [np.int32, np.int64, list])
def test_cuts_of_any_integers(isa, dtype, rng, kind):
    arguments = packed(rng, "edges", dtype)
    expected = both(arguments)
    given = [c.tolist() if kind is list else c.astype(kind) for c in arguments[3:]]
    assert_same_bits(both((*arguments[:3], *given)), expected)
    strided = [np.repeat(c, 2)[::2] for c in arguments[3:]]
    assert_same_bits(both((*arguments[:3], *strided)), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_matter(isa, dtype, rng, layout):
    arguments = packed(rng, "short", dtype)
    expected = both(arguments, causal=True)
    moved = [LAYOUTS[layout](x) for x in arguments[:3]]
    assert_same_bits(both((*moved, *arguments[3:]), causal=True), expected)


def test_threads_do_not_matter(isa, dtype, rng):
    arguments = packed(rng, "edges", dtype)
    expected = both(arguments, causal=True, num_threads=1)
    for threads in (2, 5):
        assert_same_bits(both(arguments, causal=True, num_threads=threads), expected)


def test_out(isa, dtype, rng):
    arguments = packed(rng, "some empty", dtype)
    expected = regard.varlen_attention(*arguments)
    out = np.full_like(expected, np.nan)
    assert regard.varlen_attention(*arguments, out=out) is out
    assert_same_bits(out, expected)
    wide = np.full((*expected.shape[:2], expected.shape[2] + 5), 7, dtype)
    regard.varlen_attention(*arguments, out=wide[..., 2:-3])
    assert_same_bits(wide[..., 2:-3].copy(), expected)
    assert (wide[..., :2] == 7).all()
    assert (wide[..., -3:] == 7).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_other_pieces_do_not_matter(isa, dtype, rng, bad):
    arguments = packed(rng, "edges", dtype)
    clean = both(arguments)
    query, key, value, cu_q, cu_k = arguments
    dirty = [x.copy() for x in (query, key, value)]
    dirty[0][cu_q[3] : cu_q[4]] = bad
    for x in dirty[1:]:
        x[cu_k[3] : cu_k[4]] = bad
    out, lse = both((*dirty, cu_q, cu_k))
    others = np.r_[0 : cu_q[3], cu_q[4] : cu_q[5]]
    assert_same_bits((out[others], lse[:, others]), (clean[0][others], clean[1][:, others]))
    assert np.isnan(out[cu_q[3] : cu_q[4]]).all()


def test_explain_counts_pieces():
    x = np.zeros((30, 4, 8), np.float32)
    told = regard.explain(x, x, x, [0, 10, 30], [0, 10, 30], causal=True)
    assert (told.batch, told.query_heads, told.queries, told.keys) == (2, 4, 20, 20)
    assert told.visible_share == pytest.approx((10 * 11 + 20 * 21) / 2 / (10**2 + 20**2))
    with pytest.raises(ValueError, match="cu_seqlens_k"):
        regard.explain(x, x, x, [0, 10, 30])
