"""The problems that are measured: shapes that people run, and every option."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from regard.bench import storage
from regard.bench.case import TITLES, Case


def _square(name: str, group: str, heads: int, length: int, head_dim: int, **more: Any) -> Case:
    more = {"batch": 1, "kv_heads": heads, **more}
    return Case(
        name, group, heads=heads, length=length, key_length=length, head_dim=head_dim, **more
    )


def _option(name: str, **more: Any) -> Case:
    return _square(f"option-{name}", "options", 8, 4096, 64, causal=True, option=name, **more)


def _halves(dtype: str) -> Iterator[Case]:
    """Forward in 16 bits."""
    short, group = storage.SHORT[dtype], "storage"
    yield _square(f"{short}-1k-d64", group, 8, 1024, 64, dtype=dtype, quick=True)
    yield _square(f"{short}-4k-d64", group, 8, 4096, 64, dtype=dtype)
    yield _square(f"{short}-4k-d64-causal", group, 8, 4096, 64, dtype=dtype, causal=True)
    yield _square(f"{short}-2k-d128-gqa4", group, 16, 2048, 128, kv_heads=4, dtype=dtype)


def _decode(stored: str) -> Iterator[Case]:
    """One query for a cache: heads of 64 and 128, alone and in fours, in memory and in L3."""
    end = "" if stored == "float32" else f"-{storage.SHORT[stored]}"
    dtype, cache = ("float32", stored) if stored == "int8" else (stored, "")
    for name, batch, heads, kv_heads, keys, head_dim in (
        ("4k-d128-gqa4", 1, 32, 8, 4096, 128),
        ("8x12-1k-d64", 8, 12, 12, 1024, 64),
        ("8x-4k-d128-gqa4", 8, 32, 8, 4096, 128),
        ("8x-4k-d64-gqa4", 8, 32, 8, 4096, 64),
        ("8x8-4k-d128", 8, 8, 8, 4096, 128),
        ("2k-d128-gqa4", 1, 32, 8, 2048, 128),  # these two fit most CPUs' L3
        ("16-2k-d64", 1, 16, 16, 2048, 64),
    ):
        yield Case(
            f"decode-{name}{end}", "decode", batch, heads, kv_heads, 1, keys, head_dim,
            dtype=dtype, cache=cache, quick=name == "4k-d128-gqa4",
        )  # fmt: skip


def _latent(stored: str) -> Iterator[Case]:
    """One query of 128 heads for a latent cache, which is bound by arithmetic."""
    end = "" if stored == "float32" else f"-{storage.SHORT[stored]}"
    dtype, cache = ("float32", stored) if stored == "int8" else (stored, "")
    for thousands in (4, 32):
        yield Case(
            f"latent-128x{thousands}k{end}", "latent", 1, 128, 1, 1, 1024 * thousands, 576,
            dtype=dtype, cache=cache, latent=512, model="MLA", quick=thousands == 4,
        )  # fmt: skip


def _backward() -> Iterator[Case]:
    """Forward and backward; what each option adds to that, also by its own gradient."""
    for causal in (False, True):
        for length, head_dim in itertools.product((1024, 4096), (64, 128)):
            name = f"backward-{length // 1024}k-d{head_dim}" + "-causal" * causal
            quick = (length, head_dim) == (1024, 64)
            yield _square(name, "backward", 8, length, head_dim, causal=causal, quick=quick)
    for causal in (False, True):
        name = "backward-one-head-8k-d64" + "-causal" * causal
        yield _square(name, "backward", 1, 8192, 64, causal=causal)
    yield _square("backward-2k-d128-gqa4", "backward", 16, 2048, 128, kv_heads=4, causal=True)
    yield _square("backward-bert-8x12x128", "backward", 12, 128, 64, batch=8, model="BERT")
    yield _square("backward-bf16-1k-d64", "backward", 8, 1024, 64, dtype="bfloat16")
    for option in ("softcap", "alibi", "sinks", "dropout", "t5", "relative", "bias", "cosine"):
        more: dict[str, Any] = {"option": option, "bias": option == "bias"}
        yield _square(f"backward-{option}", "backward-options", 8, 1024, 64, causal=True, **more)
    yield _square("backward-window", "backward-options", 8, 4096, 64, causal=True, window=512)


CASES: tuple[Case, ...] = (
    _square("full-1k-d64", "full", 8, 1024, 64, quick=True),
    _square("full-4k-d64", "full", 8, 4096, 64),
    _square("full-2k-d128-gqa4", "full", 16, 2048, 128, kv_heads=4),
    _square("full-1k-d80", "full", 8, 1024, 80),
    _square("full-1k-d96", "full", 8, 1024, 96),
    _square("full-1021-d64", "full", 8, 1021, 64, quick=True),
    _square("full-1k-d64-bnhd", "full", 8, 1024, 64, layout="bnhd"),
    _square("causal-256-d64", "causal", 8, 256, 64, causal=True),
    _square("causal-1k-d64", "causal", 8, 1024, 64, causal=True, quick=True),
    _square("causal-4k-d64", "causal", 8, 4096, 64, causal=True),
    _square("causal-2k-d128-gqa4", "causal", 16, 2048, 128, kv_heads=4, causal=True),
    _square("bert-8x12x128", "short", 12, 128, 64, batch=8, model="BERT", quick=True),
    _square("vit-8x12x197", "short", 12, 197, 64, batch=8, model="ViT", quick=True),
    _square("minilm-32x12x64", "short", 12, 64, 32, batch=32, model="MiniLM", quick=True),
    _square("minilm-24x12x50", "short", 12, 50, 32, batch=24, model="MiniLM"),
    _square("e5-5x16x100", "short", 16, 100, 64, batch=5, model="E5"),
    _square("full-1k-d64-float64", "float64", 8, 1024, 64, dtype="float64", quick=True),
    _square("mask-random-1k-d64", "mask", 8, 1024, 64, mask="random", quick=True),
    _square("mask-padding-1k-d64", "mask", 8, 1024, 64, mask="key_padding"),
    _square("bias-1k-d64", "mask", 8, 1024, 64, bias=True, quick=True),
    _square("window-128-of-4k", "window", 8, 4096, 64, causal=True, window=128),
    _square("window-256-of-4k", "window", 8, 4096, 64, causal=True, window=256),
    _square("window-512-of-4k", "window", 8, 4096, 64, causal=True, window=512),
    *(case for dtype in ("bfloat16", "float16") for case in _halves(dtype)),
    *(case for stored in storage.SHORT for case in _decode(stored)),
    *(case for stored in storage.SHORT if stored != "float16" for case in _latent(stored)),
    *(_option(name) for name in TITLES if name not in ("bias", "blocks", "score-mod")),
    *((_option("score-mod"),) if find_spec("numba") else ()),
    _option("bias", bias=True),
    *(
        _square(f"blocks-{percent}", "options", 8, 4096, 64, option="blocks", density=percent / 100)
        for percent in (50, 25, 10)
    ),
    *_backward(),
    _square("smallest-call", "call", 1, 4, 2, quick=True),
)
