"""Run the examples and write their pages: python docs/_make/gallery.py [NAME...].

A page has what the example does, the command, what it printed, how long that took and where, a
picture, and the source. Needs what the examples need (examples/README.md) and matplotlib.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import gallery_article
import gallery_image_classification
import gallery_image_generation
import gallery_multilingual
import gallery_saliency
import gallery_sentiment
import gallery_speech
import gallery_translate
import numpy as np
from theme import accent, save

import regard
from regard.bench.machine import describe

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "docs" / "gallery"
sys.path.insert(0, str(ROOT / "examples"))


@dataclass(frozen=True)
class Example:
    """One page: the program, its arguments, words about it, and what draws its picture."""

    name: str
    title: str
    arguments: tuple[str, ...]
    words: str
    caption: str
    draw: Callable[[str], Callable[[str], Any]]  # of what was printed


def sentences(printed: str) -> Callable[[str], Any]:
    """Similarities of the sentences, and how two heads read one of them."""
    import sentence_similarity as example

    encoder = example.SentenceEncoder(example.packaged_model())
    vectors = encoder.encode(example.SENTENCES)
    text = "Shares dropped on the news."
    heads = []
    plain = regard.attention

    def looked_at(query, key, value, **options):
        heads.append(regard.attention_weights(query, key)[0])
        return plain(query, key, value, **options)

    regard.attention = looked_at  # the example is not changed to be looked at
    try:
        tokens = encoder.tokenize([text])
        encoder.encode_batch(tokens)
    finally:
        regard.attention = plain
    words = [encoder.tokenizer.id_to_token(n) for n in tokens[0]]

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        numbers = [str(n) for n in range(1, len(vectors) + 1)]
        regard.plot.heatmap(
            np.clip(vectors @ vectors.T, 0, 1), query_labels=numbers, key_labels=numbers, ax=left,
            title="cosine of the nine sentences",
        )  # fmt: skip
        left.set_xlabel("sentence")
        left.set_ylabel("sentence")
        regard.plot.heatmap(
            heads[2][3], query_labels=words, key_labels=words, ax=right,
            title="weights of layer 3, head 4",
        )  # fmt: skip
        return figure

    return draw


def chat(printed: str) -> Callable[[str], Any]:
    """How the nine heads of one layer read the beginning of a prompt."""
    from _models.smollm2.caches import NumpyCache
    from _models.smollm2.weights import load, packaged_file

    seen = []

    class Watched(NumpyCache):
        def attend(self, query: Any) -> Any:
            positions = np.arange(self.length - query.shape[1], self.length)
            keys = self.keys[:, : self.length]
            seen.append(regard.attention_weights(self.rope(query, positions), keys, causal=True))
            return super().attend(query)

    model, tokenizer = load(packaged_file())
    config = model.config
    tokens = tokenizer.encode("The cat sat on the mat because it was tired of the long walk")
    caches = [Watched(config.kv_heads, config.head_dim, 64) for _ in range(config.layers)]
    model.forward(tokens, caches)

    roots = np.sqrt(seen[4])

    def draw(ink: str) -> Any:
        return regard.plot.heads(roots, mask=np.tri(len(tokens), dtype=bool))

    return draw


def hessian(printed: str) -> Callable[[str], Any]:
    """Put the Hessian of a small problem together, column by column."""
    import hessian_vector as example

    rng = np.random.default_rng(0)
    inputs = tuple(rng.standard_normal((3, 1, 6, 4)))
    loss = example.Loss.squared_error(rng.standard_normal((1, 6, 4)))
    size = sum(x.size for x in inputs)
    columns = []
    for n in range(size):
        flat = np.zeros(size)
        flat[n] = 1
        moves = tuple(part.reshape(1, 6, 4) for part in np.split(flat, 3))
        parts = example.hessian_product(loss, inputs, moves)
        columns.append(np.concatenate([np.ravel(part) for part in parts]))
    matrix = np.array(columns).T

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4.6), layout="constrained")
        axes = figure.subplots()
        limit = np.abs(matrix).max() / 3
        image = axes.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
        figure.colorbar(image, ax=axes, label="second derivative")
        ends = np.arange(0, size + 1, size // 3)
        for end in ends[1:-1]:
            axes.axvline(end - 0.5, color="#555555", linewidth=0.8)
            axes.axhline(end - 0.5, color="#555555", linewidth=0.8)
        middle = (ends[1:] + ends[:-1] - 1) / 2
        axes.set_xticks(middle, ["query", "key", "value"])
        axes.set_yticks(middle, ["query", "key", "value"], rotation=90, va="center")
        axes.tick_params(length=0)
        return figure

    return draw


def losses(printed: str) -> Callable[[str], Any]:
    """Draw the validation loss, as printed."""
    found = re.findall(r"after +(\d+) steps +validation loss ([\d.]+)", printed)
    steps, loss = np.array(found, float).T

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, loss, "o-", color=accent(ink))
        axes.set_xlabel("steps")
        axes.set_ylabel("validation loss, nats a character")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=ink, alpha=0.15)
        return figure

    return draw


def pairs(printed: str) -> Callable[[str], Any]:
    """Draw which pairs of chunks a causal call and one with a window are made of."""
    import dask.array as da

    import regard.dask

    x = da.zeros((1, 16 * 64, 8), chunks=(1, 64, 8))
    kinds = {
        "all keys": {},
        "causal": {"causal": True},
        "causal, a window of 3 chunks": {"causal": True, "window": 3 * 64},
    }
    grids = []
    for options in kinds.values():
        grid = np.zeros((16, 16))
        for key in regard.dask.attention(x, x, x, **options).__dask_graph__():
            if key[0].startswith("regard-attend"):
                grid[key[-2:]] = 1
        grids.append(grid)

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
        for axes, grid, title in zip(figure.subplots(1, 3), grids, kinds, strict=True):
            axes.imshow(grid * 0.8, cmap="Blues", vmin=0, vmax=1)
            axes.set_title(f"{title}: {int(grid.sum())} tasks", fontsize=10)
            axes.set_xlabel("chunk of keys")
            axes.set_ylabel("chunk of queries")
            axes.set_xticks([])
            axes.set_yticks([])
        return figure

    return draw


EXAMPLES = (
    Example(
        "sentence_similarity", "Sentences that mean the same", ("--top", "4"),
        "Embeds sentences with all-MiniLM-L6-v2, a trained transformer of six layers. The whole "
        "forward pass is NumPy; every attention is one call of `regard.attention` for a padded "
        "batch, with the lengths.",
        "Left: what the program prints. Right: one head of one layer on the seventh sentence, by "
        "`regard.attention_weights`.",
        sentences,
    ),
    Example(
        "generate", "A language model to chat with",
        ("--prompt", "Why is the sky blue?", "--temperature", "0", "--max-tokens", "60"),
        "SmolLM2-135M-Instruct in a page of NumPy. Keys and values are in a `regard.KVCache`, "
        "which turns them by their positions, rounds them to bfloat16 and attends.",
        "How the nine heads of layer 5 read 14 tokens (roots of the weights), by "
        "`regard.attention_weights` and `regard.plot.heads`.",
        chat,
    ),
    Example(
        "train_char_lm", "A model that is trained", ("--steps", "240", "--evaluations", "8"),
        "A transformer over characters, trained on the King James Bible. Every layer and its "
        "gradient is NumPy; attention and its gradient are `regard.attention_vjp`. The full run "
        "has 800 steps and ends at a loss of 1.38.",
        "The loss on text that the training never sees.",
        losses,
    ),
    Example(
        "hessian_vector", "Second derivatives", (),
        "Products of directions with the Hessian of a loss behind attention, by "
        "`regard.attention_jvp` and `regard.attention_vjp`, and the ends of its spectrum.",
        "The whole Hessian of a small problem, six tokens of four components, put together from "
        "such products.",
        hessian,
    ),
    Example(
        "cluster", "A cluster, and a worker that is killed", (),
        "Attention and its gradients in chunks on worker processes by `regard.dask.attention_vjp`, "
        "and a sequence over the workers in a `regard.dask.DistributedKVCache`, before and after "
        "one of them is killed: with its keys in a file, and without.",
        "Which pairs of chunks are tasks of the graph: 16 chunks of queries against 16 of keys.",
        pairs,
    ),
    Example(
        "image_classification", "A vision transformer that learns digits",
        gallery_image_classification.ARGUMENTS, gallery_image_classification.WORDS,
        gallery_image_classification.CAPTION, gallery_image_classification.draw,
    ),
    Example(
        "image_generation", "A model that draws digits", gallery_image_generation.ARGUMENTS,
        gallery_image_generation.WORDS, gallery_image_generation.CAPTION,
        gallery_image_generation.draw,
    ),
    Example(
        "saliency", "Where people look in a photograph",
        gallery_saliency.ARGUMENTS, gallery_saliency.WORDS, gallery_saliency.CAPTION,
        gallery_saliency.draw,
    ),
    Example("sentiment", *gallery_sentiment.TEXT, gallery_sentiment.draw),
    Example("speech", *gallery_speech.TEXT, gallery_speech.draw),
    Example(**gallery_translate.PAGE),
    Example(**gallery_article.PAGE),
    Example(**gallery_multilingual.PAGE),
)  # fmt: skip

PAGE = """# {title}

{words}

![{title}](../pictures/gallery-{name}.svg)

*{caption}*

```console
$ {command}
```

```text
{printed}
```

{where}

## Source

[examples/{name}.py](../../examples/{name}.py); `examples/README.md` says what it needs.

```{{literalinclude}} ../../examples/{name}.py
:language: py
```
"""


def fill(text: str) -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(text, 100, break_on_hyphens=False)


def fold(line: str) -> str:
    """Break a long line that was printed, and leave all others alone."""
    return fill(line) if len(line) > 100 else line


def command(words: list[str]) -> str:
    """Write a command, in several lines if it is long."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 92:
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


def record(example: Example) -> None:
    """Run it, and write its picture and its page."""
    program = [sys.executable, f"examples/{example.name}.py", *example.arguments]
    start = time.perf_counter()
    done = subprocess.run(
        program, cwd=ROOT, env=os.environ, stdin=subprocess.DEVNULL, text=True, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    save(f"gallery-{example.name}", example.draw(done.stdout))
    quoted = [f'"{word}"' if " " in word else word for word in example.arguments]
    here = describe()
    page = PAGE.format(
        title=example.title, words=fill(example.words), caption=fill(example.caption),
        name=example.name,
        command=command(["python", f"examples/{example.name}.py", *quoted]),
        printed="\n".join(map(fold, done.stdout.strip("\n").split("\n"))),
        where=fill(f"This run took {seconds:.0f} s, on {date.today()}, on {here['cpu']}, "
        f"{here['cores']} cores, which did other work as well."),
    )  # fmt: skip
    (GALLERY / f"{example.name}.md").write_text(page, "utf-8")


def main(names: list[str]) -> None:
    """Record the examples named, or all."""
    for example in EXAMPLES:
        if not names or example.name in names:
            record(example)


if __name__ == "__main__":
    main(sys.argv[1:])
