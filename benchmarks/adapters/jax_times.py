"""Times of `regard.jax` on JAX arrays: against ``jax.nn``, and against a callback to NumPy.

    python -m benchmarks.adapters.jax_times --json benchmarks/results/jax.json
    python -m benchmarks.adapters.jax_times --filter gradients

All are compiled by ``jit`` and timed in turn. The table of docs/guide/jax.md is made from the file
by ``benchmarks.adapters.jax_page``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import regard
import regard.jax
from regard.bench import machine
from regard.bench.timing import Effort, interleave

SCHEMA = 1
Attention = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A call: (batch, queries, keys, heads, kv heads, head_dim), forward or gradients."""

    name: str
    shape: tuple[int, int, int, int, int, int]
    causal: bool = False
    dtype: str = "float32"
    gradients: bool = False


CASES = (
    Case("64 tokens", (1, 64, 64, 8, 8, 64)),
    Case("1,024 tokens", (1, 1024, 1024, 8, 8, 64)),
    Case("1,024 tokens, causal", (1, 1024, 1024, 8, 8, 64), causal=True),
    Case("1,024 tokens, causal, bfloat16", (1, 1024, 1024, 8, 8, 64), True, "bfloat16"),
    Case("4,096 tokens, causal, grouped heads", (1, 4096, 4096, 8, 2, 64), causal=True),
    Case("one query, 4,096 keys, grouped heads", (4, 1, 4096, 8, 2, 128)),
    Case("64 tokens, gradients", (1, 64, 64, 8, 8, 64), gradients=True),
    Case("1,024 tokens, causal, gradients", (1, 1024, 1024, 8, 8, 64), True, gradients=True),
)


@dataclass(frozen=True)
class Result:
    """One row: seconds of each contender, the median of its rounds."""

    name: str
    seconds: dict[str, float]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def by_callback(query: Any, key: Any, value: Any, is_causal: bool) -> Any:
    """Call `regard.attention` on the host, as regard.jax did up to version 0.2."""
    return _callback_forward(query, key, value, is_causal)[0]


def _options(is_causal: bool) -> dict[str, Any]:
    return {"causal": "upper_left" if is_causal else False, "layout": "BSHD"}


def _callback_forward(query: Any, key: Any, value: Any, is_causal: bool) -> tuple[Any, Any]:
    def run(*arrays: Any) -> Any:
        return regard.attention(*map(np.asarray, arrays), return_lse=True, **_options(is_causal))

    batch, queries, heads, _ = query.shape
    shapes = (
        jax.ShapeDtypeStruct((*query.shape[:-1], value.shape[-1]), query.dtype),
        jax.ShapeDtypeStruct((batch, heads, queries), np.float32),
    )
    out, lse = jax.pure_callback(run, shapes, query, key, value)
    return out, (query, key, value, out, lse)


def _callback_backward(is_causal: bool, saved: Any, dout: Any) -> Any:
    def run(*arrays: Any) -> Any:
        found = regard.attention_backward(*map(np.asarray, arrays), **_options(is_causal))
        return found.query, found.key, found.value

    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in saved[:3])
    return jax.pure_callback(run, shapes, dout, *saved)


by_callback.defvjp(_callback_forward, _callback_backward)


def _keyword(query: Any, key: Any, value: Any, *, is_causal: bool) -> Any:
    return by_callback(query, key, value, is_causal)


CONTENDERS: dict[str, Attention] = {
    "regard": regard.jax.dot_product_attention,
    "jax.nn": jax.nn.dot_product_attention,
    "regard by callback": _keyword,
}


def calls(case: Case) -> dict[str, Callable[[], Any]]:
    """One call for each contender, which waits for its result."""
    batch, queries, keys, heads, kv_heads, dim = case.shape
    rng = np.random.default_rng(0)
    shapes = (batch, queries, heads, dim), *((batch, keys, kv_heads, dim),) * 2
    arrays = [jnp.asarray(rng.standard_normal(shape), case.dtype) for shape in shapes]

    def call(attention: Attention) -> Callable[[], Any]:
        def out(*arrays: Any) -> Any:
            return attention(*arrays, is_causal=case.causal)

        def loss(*arrays: Any) -> Any:
            return (out(*arrays) ** 2).sum()

        function = jax.jit(jax.grad(loss, (0, 1, 2)) if case.gradients else out)
        return lambda: jax.block_until_ready(function(*arrays))

    return {name: call(attention) for name, attention in CONTENDERS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", help="only rows whose name contains this")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender of a row")
    parser.add_argument("--json", type=Path, help="write the results")
    arguments = parser.parse_args()
    results = []
    for case in CASES:
        if arguments.filter not in case.name:
            continue
        timings = interleave(calls(case), Effort(seconds=arguments.seconds))
        result = Result(case.name, {who: timing.median for who, timing in timings.items()})
        results.append(result)
        ours = result.seconds["regard"]
        cells = (f"{who} {t * 1e3:.3f} ms ({t / ours:.2f})" for who, t in result.seconds.items())
        print(f"{case.name}: {'  '.join(cells)}", flush=True)
    if arguments.json:
        found = {
            "schema": SCHEMA,
            "machine": machine.describe(),
            "isa": regard.active_isa(),
            "versions": {"regard": regard.__version__, "jax": jax.__version__},
            "rows": [asdict(result) for result in results],
        }
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
