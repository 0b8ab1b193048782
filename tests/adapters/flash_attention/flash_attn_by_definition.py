"""What flash-attn's documentation says, in float64 PyTorch that holds every matrix whole.

Written from the docstrings of flash_attn_interface.py 2.8: who sees whom, what is added, shapes.
Autograd gives the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# What a result may be off by, relative to the largest number: two units of the dtype.
TOLERANCE = {torch.float16: 2**-9, torch.bfloat16: 2**-6, torch.float32: 4e-6, torch.float64: 1e-12}


def visible(queries: int, keys: int, causal: bool, window: tuple[int, int]) -> torch.Tensor:
    """Aligned to the bottom right corner; -1 is no limit."""
    position = torch.arange(queries)[:, None] + keys - queries
    key = torch.arange(keys)
    left, right = window
    seen = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        right = 0
    if left >= 0:
        seen &= key >= position - left
    if right >= 0:
        seen &= key <= position + right
    return seen


def element(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    slopes: torch.Tensor | None = None,
    scale: float | None = None,
    first_key: int = 0,
    kept: torch.Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One batch element: (seqlen, heads, head_dim) to output, LSE (heads, seqlen_q), weights.

    `first_key` is the left padding of a cache; `kept` says which weights dropout leaves.
    """
    queries, heads, dim = q.shape
    keys, heads_k, _ = k.shape
    seen = visible(queries, keys, causal, window) & (torch.arange(keys) >= first_key)
    some = seen.any(-1, keepdim=True)
    distance = (torch.arange(queries)[:, None] + keys - queries - torch.arange(keys)).abs()
    outs, lses, all_weights = [], [], []
    for head in range(heads):
        key, value = k[:, head // (heads // heads_k)], v[:, head // (heads // heads_k)]
        scores = q[:, head] @ key.T * (dim**-0.5 if scale is None else scale)
        if softcap > 0:
            scores = softcap * torch.tanh(scores / softcap)
        if slopes is not None:
            scores = scores - slopes[head].double() * distance
        # Rows without keys are computed as if they had some, and left out: no NaN in gradients.
        scores = torch.where(seen | ~some, scores, -torch.inf)
        weights = torch.softmax(scores, -1) * some
        dropped = weights if kept is None else weights * kept[head] / (1 - dropout)
        outs.append(dropped @ value)
        lses.append(torch.where(some[:, 0], torch.logsumexp(scores, -1), torch.inf))
        all_weights.append(weights)
    return torch.stack(outs, 1), torch.stack(lses), torch.stack(all_weights)


def batch(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(batch, seqlen, heads, head_dim); slopes and kept may be one for each element."""
    results = []
    for n in range(len(q)):
        own = dict(options)
        if own.get("slopes") is not None and own["slopes"].ndim == 2:
            own["slopes"] = own["slopes"][n]
        if own.get("kept") is not None:
            own["kept"] = own["kept"][n]
        results.append(element(q[n], k[n], v[n], **own))
    out, lse, weights = (torch.stack(x) for x in zip(*results, strict=True))
    return out, lse, weights


def largest(x: torch.Tensor) -> float:
    """Return the largest magnitude, rows without keys aside."""
    finite = x.detach()[x.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def check(
    got: torch.Tensor,
    want: torch.Tensor,
    dtype: torch.dtype | None = None,
    relative_to: float | None = None,
) -> None:
    """Equal to within the rounding of a dtype, relative to the largest number."""
    size = largest(want) if relative_to is None else relative_to
    tolerance = TOLERANCE[got.dtype if dtype is None else dtype] * size
    torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance)


def check_gradients(
    got: Sequence[torch.Tensor], want: Sequence[torch.Tensor], dtype: torch.dtype
) -> None:
    """Check that gradients are equal; where few keys are seen, some are sums that cancel to 0."""
    size = max(map(largest, want))
    for gradient, expected in zip(got, want, strict=True):
        assert gradient.dtype == dtype
        check(gradient, expected, relative_to=size)
