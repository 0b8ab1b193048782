"""``regard demo``: attention on four words step by step, then at the size of two models."""

from __future__ import annotations

import argparse
import statistics
import sys
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from regard import reference
from regard._arguments import picture_file
from regard._matplotlib import require_matplotlib
from regard._tqdm import progress
from regard.bench.timing import once, settle
from regard.cli.problems import Problem

Array = NDArray[Any]

# "I like eating apples", as an article that has been copied a thousand times puts it.
WORDS = ("我", "喜欢", "吃", "苹果")
VECTORS = ((1, 0), (0, 1), (1, 1), (0, 0))

ROUNDS = 7
INDENT = "   "


@dataclass(frozen=True)
class Workload:
    """Attention as large as in a layer of a model: (batch, heads, length, head_dim) in float32."""

    title: str
    shape: tuple[int, int, int, int]
    causal: bool


WORKLOADS = (
    Workload("Random numbers in the shape of GPT-2, causal", (1, 12, 1024, 64), causal=True),
    Workload("Random numbers in the shape of BERT", (8, 12, 128, 64), causal=False),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``regard demo``."""
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE",
        help='draw the weights (.svg, .png, .pdf or .html; needs "regard[plot]")',
    )


def main(args: argparse.Namespace) -> int:
    """Run ``regard demo``.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed from what :func:`add_arguments` declared.

    Returns
    -------
    int
        0; 1 when a result is further from the oracle than its error bound; 2 when matplotlib is
        asked for and missing, or the picture cannot be written.
    """
    if args.plot:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                draw_weights(args.plot)  # before seconds of measuring, not after
            except OSError as error:
                print(f"regard demo: {error}", file=sys.stderr)
                return 2
        for warning in told:  # of fonts; without the line of code that Python shows
            print(f"regard demo: {warning.message}\n", file=sys.stderr)
    print(f"regard {regard.__version__} on {regard.active_isa()}\n")
    correct = four_words()
    for number, workload in enumerate(WORKLOADS, start=2):
        correct &= model_sized(number, workload)
    if args.plot:
        print(f"drawn: {args.plot}\n")
    print("All results are within their error bounds." if correct else "WRONG RESULTS: see above.")
    return 0 if correct else 1


def four_words() -> bool:
    """Show attention on the four words; tell whether the numbers are right."""
    x = np.array(VECTORS, dtype=np.float64)
    scores = x @ x.T
    # The weights are what attention makes of values that are the rows of the identity.
    weights = regard.attention(x, x, np.eye(len(x)), scale=1)
    output = regard.attention(x, x, x, scale=1)

    print(f"1. Four words: {' '.join(WORDS)} (I like eating apples)\n")
    print_table("query Q = key K = value V", ("x", "y"), x, 0)
    print_table("scores S = Q Kᵀ, unscaled: how well a word (row) matches each", WORDS, scores, 0)
    print_table("weights P = softmax of each row of S: how much it attends to each", WORDS, weights)
    print_table("output O = P V: the mix of values that each word takes away", ("x", "y"), output)

    powers = np.exp(scores[0])
    print(f"{INDENT}By hand, for {WORDS[0]}:")
    print(f"{INDENT}  exp of its scores  {joined(powers)}   sum {powers.sum():.3f}")
    print(f"{INDENT}  divided by the sum {joined(powers / powers.sum())}")
    print(f"{INDENT}  output x = P(我) + P(吃) = {output[0, 0]:.3f}", end="")
    print(f"   y = P(喜欢) + P(吃) = {output[0, 1]:.3f}\n")
    print(f"{INDENT}The widely copied article that works this example out prints wrong scores,")
    print(f"{INDENT}wrong weights and a wrong output. Those above are the right ones.")

    expected = reference.weights(x, x, scale=1), reference.attention(x, x, x, scale=1)
    error = max(largest_error(weights, expected[0]), largest_error(output, expected[1]))
    return verdict(error, 1e-14)


def model_sized(number: int, workload: Workload) -> bool:
    """Check and time one workload against plain NumPy; tell whether the result is right."""
    shape = workload.shape
    print(f"{number}. {workload.title}: {' x '.join(map(str, shape))}, float32\n")
    query, key, value = drawn(number, workload)
    problem = Problem(query, key, value, {"causal": workload.causal})
    calls: dict[str, Callable[[], Array]] = {
        "regard": lambda: regard.attention(query, key, value, causal=workload.causal),
        "NumPy": lambda: plain_numpy(query, key, value, workload.causal),
    }
    expected, _ = problem.expected
    errors = {name: largest_error(call(), expected) for name, call in calls.items()}

    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in progress(range(ROUNDS), f"{INDENT}timing"):
        for name, call in calls.items():
            settle()  # the other's threads, which spin for a while after their work is done
            call()
            samples[name] += [once(call) for _ in range(3)]
    seconds = {name: statistics.median(times) for name, times in samples.items()}

    print(f"{INDENT}{'':8}{'time':>12}{'speed-up':>12}{'max error':>14}")
    for name in calls:
        time = f"{seconds[name] * 1e3:.2f} ms"
        speed = f"{seconds['NumPy'] / seconds[name]:.1f} x"
        print(f"{INDENT}{name:8}{time:>12}{speed:>12}{errors[name]:14.1e}")
    return verdict(errors["regard"], problem.bounds[0])


def drawn(number: int, workload: Workload) -> Array:
    """Query, key and value of a workload, the same whenever they are drawn."""
    rng = np.random.default_rng(number)
    return rng.standard_normal((3, *workload.shape), dtype=np.float32)


def draw_weights(path: str) -> None:
    """Draw the weights of the four words, and beside them a map of those of the first workload.

    Parameters
    ----------
    path : str
        Where to; the suffix (``.svg``, ``.png``, ``.pdf``, ``.html``) chooses the format.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    OSError, ValueError
        The picture cannot be written there, or not in this format.
    """
    figure = require_matplotlib().Figure(figsize=(12, 5), layout="compressed")
    words, model = figure.subplots(1, 2)
    figure.get_layout_engine().set(wspace=0.06)
    x = np.array(VECTORS, dtype=np.float64)
    weights = regard.attention_weights(x, x, scale=1)
    regard.plot.heatmap(
        weights, query_labels=WORDS, key_labels=WORDS, title="Weights of the four words", ax=words
    )
    for (row, column), weight in np.ndenumerate(weights):
        colour = "black" if weight > 0.7 * weights.max() else "white"  # on yellow, on blue
        words.text(column, row, f"{weight:.3f}", ha="center", va="center", color=colour)

    number, workload = 2, WORKLOADS[0]
    query, key, _ = drawn(number, workload)
    length = workload.shape[2]
    cells = min(64, length)
    summary = regard.attention_summary(
        query, key, causal=workload.causal, top_k=0, pooled=(cells, cells)
    )
    pooled = summary.pooled[0, 0]
    cell = length // cells
    regard.plot.heatmap(
        pooled,
        title=f"{workload.title}:\nweights of head 0, in cells of {cell} x {cell}",
        ax=model,
        extent=(length, length),
        # The first rows have few keys to share their weight; beside them all else would be dark.
        vmax=float(np.quantile(pooled, 0.98)),
    )
    regard.plot.save(figure, path)


def plain_numpy(query: Array, key: Array, value: Array, causal: bool) -> Array:
    """Compute attention as one writes it without regard, every score in memory."""
    scores = query @ key.swapaxes(-1, -2)
    scores *= query.dtype.type(query.shape[-1] ** -0.5)
    if causal:
        queries, keys = scores.shape[-2:]
        scores[..., ~np.tri(queries, keys, keys - queries, dtype=bool)] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores, out=scores)
    weights /= weights.sum(axis=-1, keepdims=True)
    output: Array = weights @ value
    return output


def verdict(error: float, bound: float) -> bool:
    """Print an error of regard beside its bound; tell whether it is within."""
    correct = error <= bound
    word = "ok" if correct else "WRONG"
    print(f"\n{INDENT}{word}: off the float64 oracle by {error:.1e}, allowed {bound:.1e}\n")
    return correct


def largest_error(got: Array, expected: Array) -> float:
    """Largest absolute difference, NaN if there is one."""
    return float(np.max(np.abs(got - expected)))


def print_table(title: str, columns: Sequence[str], rows: Array, decimals: int = 3) -> None:
    """Print a matrix with one of the words before each row."""
    print(f"{INDENT}{title}")
    print(INDENT + pad("", 6) + "".join(pad(column, 8, right=True) for column in columns))
    for word, row in zip(WORDS, rows, strict=True):
        print(INDENT + pad(word, 6) + "".join(f"{number:8.{decimals}f}" for number in row))
    print()


def joined(numbers: Array) -> str:
    """Numbers of one row, aligned with those of the next."""
    return "  ".join(f"{number:.3f}" for number in numbers)


def pad(text: str, columns: int, right: bool = False) -> str:
    """Fill up to a number of terminal columns, of which Chinese characters take two each."""
    width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    filling = " " * (columns - width)
    return filling + text if right else text + filling
