"""Every option, traced and not, is that of the NumPy function, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard

jax: Any = pytest.importorskip("jax")
adapter: Any = pytest.importorskip("regard.jax")
jnp = jax.numpy

RNG = np.random.default_rng(0)
BATCH, HEADS, KV_HEADS, QUERIES, KEYS = 2, 4, 2, 9, 21
SEEN = RNG.random((BATCH, 1, QUERIES, KEYS)) < 0.6
TILES = regard.BlockMask.from_dense(SEEN[:, 0][:, None], block_size=16)
TOKENS = np.array([[True] * 15 + [False] * 6, [False] * 4 + [True] * 17])

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"causal": True},
    "upper_left": {"causal": "upper_left"},
    "window": {"window": (3, None)},
    "windows of heads": {"window": (np.array([3, -1, 0, 2]), 4)},
    "mask": {"mask": SEEN},
    "mask of pairs": {"mask": SEEN[0, 0]},
    "packed mask": {"mask": regard.PackedMask.from_dense(SEEN)},
    "tiles": {"mask": TILES},
    "key_mask": {"key_mask": TOKENS},
    "key_mask and mask": {"key_mask": TOKENS, "mask": SEEN},
    "key_mask and tiles": {"key_mask": TOKENS, "mask": TILES},
    "key_mask and bits": {"key_mask": TOKENS, "mask": regard.PackedMask.from_dense(SEEN)},
    "key_mask, 0 and 1": {"key_mask": TOKENS.astype(np.int32)},
    "bias": {"bias": RNG.standard_normal((HEADS, 1, KEYS)).astype(np.float32)},
    "bias of halves": {"bias": RNG.standard_normal((QUERIES, KEYS)).astype(np.float16)},
    "position_bias": {"position_bias": regard.bias.T5(RNG.standard_normal((8, HEADS)))},
    "lengths": {
        "key_lengths": np.array([21, 7]), "query_lengths": np.array([3, 9]),
        "causal": "upper_left",
    },
    "query_offset": {"query_offset": np.array([2, -3]), "causal": True},
    "far offset": {"query_offset": np.array(2**40), "causal": True},
    "scale": {"scale": 0.3},
    "scales": {"scale": np.array([0.3, -1, 0, 2.0])},
    "query_scale": {"query_scale": RNG.standard_normal((HEADS, QUERIES)).astype(np.float32)},
    "softcap": {"softcap": np.array([1.0, 0, 3, 2])},
    "alibi": {"alibi_slopes": RNG.random((BATCH, HEADS)).astype(np.float32), "causal": True},
    "sinks": {"sinks": np.array([0.5, -1, 2, 0], np.float32)},
    "one sink": {"sinks": 0.5},
    "cosine": {"similarity": "cosine"},
    "dropout": {"dropout": 0.3, "seed": 2**64 - 3},
    "threads": {"num_threads": 1},
}  # fmt: skip
TRACED = (
    "mask", "key_mask", "bias", "key_lengths", "query_lengths", "query_offset", "query_scale",
    "alibi_slopes", "sinks",
)  # fmt: skip


def inputs(dtype: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = (BATCH, HEADS, QUERIES, 8), (BATCH, KV_HEADS, KEYS, 8), (BATCH, KV_HEADS, KEYS, 5)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options(options: dict[str, Any]) -> None:
    query, key, value = inputs()
    want, want_lse = regard.attention(query, key, value, return_lse=True, **options)
    out, lse = adapter.attention(query, key, value, return_lse=True, **options)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(lse, want_lse)


@pytest.mark.parametrize(
    "options",
    [o for name, o in OPTIONS.items() if set(o) & set(TRACED) and name != "far offset"],
    ids=str,
)
def test_options_that_are_traced(options: dict[str, Any]) -> None:
    query, key, value = inputs()
    traced = {
        name: jnp.asarray(x)
        for name, x in options.items()
        if name in TRACED and not hasattr(x, "to_dense")
    }
    others = {name: x for name, x in options.items() if name not in traced}

    @jax.jit
    def call(traced: Any, *arrays: Any) -> Any:
        return adapter.attention(*arrays, **traced, **others)

    want = regard.attention(query, key, value, **options)
    np.testing.assert_array_equal(call(traced, query, key, value), want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("layout", ["BHSD", "BSHD", "SBHD"])
def test_types_and_layouts(dtype: str, layout: str) -> None:
    in_float64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with in_float64(True):
        by_head = [jnp.asarray(x, dtype) for x in inputs(np.float64)]
        arrays = [x.transpose([("BHSD").index(letter) for letter in layout]) for x in by_head]
        want, want_lse = regard.attention(*map(np.asarray, by_head), causal=True, return_lse=True)
        out, lse = jax.jit(
            lambda *x: adapter.attention(*x, causal=True, layout=layout, return_lse=True)
        )(*arrays)
        assert (out.dtype, lse.dtype) == (want.dtype, want_lse.dtype)
        got = np.asarray(out).transpose([layout.index(letter) for letter in "BHSD"])
        np.testing.assert_array_equal(got.view(np.uint8), np.ascontiguousarray(want).view(np.uint8))
        np.testing.assert_array_equal(lse, want_lse)


@pytest.mark.parametrize(
    "shapes",
    [((8,), (5, 8), (5, 3)), ((4, 8), (5, 8), (5, 3)), ((4, 8), (1, 5, 8), (2, 1, 5, 3)),
     ((2, 3, 1, 4, 8), (3, 1, 5, 8), (1, 5, 3)), ((0, 2, 4, 8), (0, 2, 5, 8), (0, 2, 5, 3)),
     ((2, 4, 8), (2, 0, 8), (2, 0, 3))],
    ids=str,
)  # fmt: skip
def test_axes(shapes: Any) -> None:
    arrays = [np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in shapes]
    want, want_lse = regard.attention(*arrays, return_lse=True)
    out, lse = adapter.attention(*arrays, return_lse=True)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(lse, want_lse)


def test_pages() -> None:
    rng = np.random.default_rng(0)
    query = rng.standard_normal((2, 4, 1, 8)).astype(np.float32)
    key, value = rng.standard_normal((2, 6, 4, 2, 8)).astype(np.float32)
    options = {"block_table": np.array([[3, 1, -1], [0, 5, 2]]), "key_lengths": np.array([7, 12])}
    want = regard.attention(query, key, value, **options)
    np.testing.assert_array_equal(adapter.attention(query, key, value, **options), want)
    queries = jnp.stack([query, 2 * query])
    each = jax.vmap(lambda q: adapter.attention(q, key, value, **options))(queries)
    np.testing.assert_array_equal(each[1], regard.attention(2 * query, key, value, **options))


@pytest.mark.parametrize("kind", ["mask", "key_mask", "key_mask and tiles", "key_lengths"])
def test_what_is_hidden_never_matters(kind: str) -> None:
    query, key, value = inputs()
    hidden = ~TOKENS if kind != "key_lengths" else np.arange(KEYS) >= np.array([[15], [17]])
    option: dict[str, Any] = {
        "mask": {"mask": jnp.asarray(TOKENS)[:, None, None]},
        "key_mask": {"key_mask": jnp.asarray(TOKENS)},
        "key_mask and tiles": {"key_mask": jnp.asarray(TOKENS)},
        "key_lengths": {"key_lengths": jnp.asarray([15, 17])},
    }[kind]
    rest = {"mask": TILES} if "tiles" in kind else {}

    def loss(query: Any, key: Any, value: Any, option: Any) -> Any:
        out = adapter.attention(query, key, value, **option, **rest)
        return out.sum(), out

    function = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, out), gradients = function(query, key, value, option)
    for x in (key, value):
        x[np.broadcast_to(hidden[:, None], x.shape[:-1])] = np.nan
    (_, poisoned), of_poisoned = function(query, key, value, option)
    np.testing.assert_array_equal(out, poisoned)
    for got, want in zip(of_poisoned, gradients, strict=True):
        np.testing.assert_array_equal(got, want)
