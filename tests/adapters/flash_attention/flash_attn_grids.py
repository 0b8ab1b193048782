"""flash-attn's own test grid (tests/test_flash_attn.py), sampled so that every value is met."""

from __future__ import annotations

import random
from typing import Any

import torch

DIMS = (32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
HEADS = 6
HEADS_K = {"mha": 6, "gqa": 3, "mqa": 1}
# Without those of more than 512, which differ in nothing but time.
PAIRS = ((113, 203), (128, 217), (113, 211), (108, 256), (256, 512), (512, 256))
DECODED = ((1, 239), (3, 799), (127, 512), (127, 513), (1, 147), (64, 800), (16, 1000), (128, 128))


def sampled(count: int, seed: int = 0, **axes: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Cases in which every value of every axis comes up equally often, in random company."""
    generator = random.Random(seed)
    columns = {}
    for name, values in axes.items():
        column = [values[n % len(values)] for n in range(count)]
        generator.shuffle(column)
        columns[name] = column
    return [{name: column[n] for name, column in columns.items()} for n in range(count)]


def named(case: dict[str, Any]) -> str:
    """Name a case as pytest shows it."""
    parts = []
    for name, value in case.items():
        if isinstance(value, bool):
            parts.extend([name] if value else [])
        else:
            parts.append(str(value).removeprefix("torch.").replace(", ", "x").strip("()"))
    return "-".join(parts)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Draw normal numbers that are rounded to the dtype."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def settings(case: dict[str, Any], batch: int, keys: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments by flash-attn's names, and the same for the definition."""
    generator = random.Random(str(case))
    window = (-1, -1)
    if case.get("local"):
        window = (generator.randrange(keys), generator.randrange(keys))
    slopes = None
    if case.get("alibi"):
        slopes = 0.3 * torch.rand(batch, HEADS, generator=torch.Generator().manual_seed(keys))
    softcap = case.get("softcap", 0.0)
    theirs = {"causal": case["causal"], "window_size": window, "softcap": softcap}
    theirs["alibi_slopes"] = slopes
    ours = {"causal": case["causal"], "window": window, "softcap": softcap, "slopes": slopes}
    return theirs, ours
