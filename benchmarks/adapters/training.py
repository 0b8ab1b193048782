"""A training step of the character model of the examples: NumPy and regard against PyTorch.

    python -m benchmarks.adapters.training
    python -m benchmarks.adapters.training --length 512 --batch 4 --json FILE

One process, the same weights and texts; steps are timed in turn, and losses and gradients compared
before. A step is loss, gradients, clipping and AdamW. PyTorch has its fused optimiser and its own
attention, with ALiBi and the causal mask as one bias. Both have as many threads: in NumPy, each
computes pieces of the batch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# ruff: noqa: E402
# One thread a piece, which the libraries read when NumPy is loaded: so before that.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import torch

import regard
from regard.bench import machine
from regard.bench.timing import Effort, interleave

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
char_lm: Any = importlib.import_module("_models.char_lm.training")

SCHEMA = 1
VOCABULARY = 65  # characters of the King James Bible
functional = torch.nn.functional


class Block(torch.nn.Module):
    """Attention and SwiGLU, each behind a norm."""

    def __init__(self, shape: Any) -> None:
        super().__init__()
        c, h = shape.channels, shape.hidden
        self.heads = shape.heads
        self.attention_norm, self.mlp_norm = (torch.nn.RMSNorm(c, eps=1e-5) for _ in range(2))
        self.qkv = torch.nn.Linear(c, 3 * c, bias=False)
        self.out = torch.nn.Linear(c, c, bias=False)
        self.gate, self.linear1 = (torch.nn.Linear(c, h, bias=False) for _ in range(2))
        self.linear2 = torch.nn.Linear(h, c, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Add both branches."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        by_head = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.out(by_head.transpose(1, 2).flatten(2))
        unit = self.mlp_norm(x)
        return x + self.linear2(functional.silu(self.gate(unit)) * self.linear1(unit))


class TorchModel(torch.nn.Module):
    """The model of ``examples/_models/char_lm/model.py`` in PyTorch."""

    def __init__(self, shape: Any, length: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(shape.vocabulary, shape.channels)
        self.blocks = torch.nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.norm = torch.nn.RMSNorm(shape.channels, eps=1e-5)
        slopes = torch.tensor(np.asarray(regard.alibi_slopes(shape.heads)), dtype=torch.float32)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        bias = torch.where(distance < 0, -math.inf, -slopes[:, None, None] * distance)
        self.bias: torch.Tensor
        self.register_buffer("bias", bias[None])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of tokens (batch, length)."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.bias)
        return self.norm(x) @ self.embedding.weight.T

    def named(self) -> dict[str, torch.Tensor]:
        """Parameters by the names of the example."""
        found = {"embedding": self.embedding.weight, "norm.weight": self.norm.weight}
        for i, block in enumerate(self.blocks):
            found |= {
                f"layers.{i}.norm1.weight": block.attention_norm.weight,
                f"layers.{i}.self_attn.in_proj_weight": block.qkv.weight,
                f"layers.{i}.self_attn.out_proj.weight": block.out.weight,
                f"layers.{i}.norm2.weight": block.mlp_norm.weight,
                f"layers.{i}.gate.weight": block.gate.weight,
                f"layers.{i}.linear1.weight": block.linear1.weight,
                f"layers.{i}.linear2.weight": block.linear2.weight,
            }
        return found


def loss_of(model: TorchModel, tokens: torch.Tensor) -> torch.Tensor:
    """Each character from those before it."""
    logits = model(tokens[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def torch_step(model: TorchModel, tokens: torch.Tensor) -> Callable[[], None]:
    """Loss, gradients, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(model, tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def disagreement(model: TorchModel, tokens: Any, ours: Any) -> float:
    """How far gradients are apart at most, by the largest of each parameter."""
    loss = loss_of(model, torch.from_numpy(tokens))
    model.zero_grad(set_to_none=True)
    loss.backward()
    found, gradients = ours
    worst = abs(found - loss.item()) / found
    for name, parameter in model.named().items():
        assert parameter.grad is not None
        theirs = parameter.grad.numpy()
        worst = max(worst, float(np.abs(gradients[name] - theirs).max() / np.abs(theirs).max()))
    return float(worst)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each contender")
    parser.add_argument("--json", type=Path, help="write the result")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = char_lm.Shape(VOCABULARY)
    rng = np.random.default_rng(0)
    text = char_lm.Text("", rng.integers(0, VOCABULARY, 1 << 20), rng.integers(0, 65, 1 << 16))
    settings = char_lm.Settings(batch=arguments.batch, length=arguments.length, steps=1 << 30)
    tokens = text.batch(rng, arguments.batch, arguments.length)
    with ThreadPoolExecutor(arguments.threads) as workers:
        run = char_lm.Run(text, shape, "regard", settings, workers=workers)
        model = TorchModel(shape, arguments.length)
        with torch.no_grad():
            for name, parameter in model.named().items():
                parameter.copy_(torch.from_numpy(run.parameters[name]))
        ours = run.model.loss_and_gradients(run.parameters, tokens)
        apart = disagreement(model, tokens, ours)
        timings = interleave(
            {"regard": run.step, "torch": torch_step(model, torch.from_numpy(tokens))},
            Effort(seconds=arguments.seconds),
        )
    seconds = {name: timing.median for name, timing in timings.items()}
    ratio = seconds["torch"] / seconds["regard"]
    shown = ", ".join(f"{name} {1e3 * t:.1f} ms" for name, t in seconds.items())
    print(f"training step, {arguments.batch} x {arguments.length}: {shown}, ratio {ratio:.2f}")
    print(f"gradients differ by {apart:.1e} of the largest")
    if arguments.json:
        found = {
            "schema": SCHEMA,
            "machine": machine.describe(),
            "versions": {"regard": regard.__version__, "torch": torch.__version__},
            "threads": arguments.threads,
            "batch": arguments.batch,
            "length": arguments.length,
            "seconds": seconds,
            "gradients_apart": apart,
        }
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
