"""Let a language model read one author, and fine-tune it on little of another, by regard.nn.

The character model of train_char_lm.py first reads Jane Austen's novels, and is then trained on
with the beginning of Herman Melville's Moby-Dick, at a lower rate; beside it, a model of the same
size learns from those characters alone. Perplexities are of the last twentieth of both authors,
which no training sees. The novels are in two packages of Debian, for R (MIT license; the novels are
in the public domain), which rdata reads:

    pip install rdata safetensors tqdm matplotlib
    apt-get download r-cran-janeaustenr r-cran-tokenizers
    for package in r-cran-*.deb; do dpkg -x $package novels; done

    python examples/fine_tune.py
    python examples/fine_tune.py --characters 400000 --schedule linear --plot loss.png
    python examples/fine_tune.py --checkpoint runs --resume --parallel processes

A run ends when --patience evaluations in turn were none the better, on the last tenth of what it
may see, and its best parameters are kept. All of it is `regard.nn` and `regard.nn.training`.
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
    from _models.char_lm.model import Parameters
    from _models.char_lm.text import Text
    from _models.char_lm.training import Run

AUSTEN, TUNED, ALONE = "Austen", "Melville after Austen", "Melville alone"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    from _models.char_lm import options

    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=600, help="at most, of Austen and of alone")
    parser.add_argument("--tuning", type=int, default=240, help="steps of the fine-tuning, at most")
    parser.add_argument("--tuning-rate", type=float, default=1e-3, help="its highest learning rate")
    parser.add_argument(
        "--characters", type=int, default=100_000, help="of Moby-Dick, that may be seen"
    )
    options.add_to(parser)
    parser.set_defaults(layers=2, evaluations=12, patience=2)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss curves")
    parser.add_argument("--prompt", default="The whale", help="what samples begin with")
    parser.add_argument("--sample", type=int, default=200, help="characters of a sample")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = options.check(parser, parser.parse_args(argv), "steps", "tuning")
    if arguments.characters < 20 * arguments.length:
        parser.error("--characters has to be at least 20 pieces of --length")
    return arguments


def read(characters: int) -> tuple[dict[str, Text], dict[str, Text]]:
    """Read what may be learnt from, and what is judged by: the last twentieth of each author."""
    from _models.char_lm import novels
    from _models.char_lm.text import Text

    whole = {"Austen": novels.austen(), "Melville": novels.moby_dick()}
    alphabet = "".join(sorted(set("".join(whole.values()))))
    ends = {name: round(0.95 * len(text)) for name, text in whole.items()}
    seen = {
        "Austen": Text.of(whole["Austen"][: ends["Austen"]], alphabet, 0.01),
        "Melville": Text.of(whole["Melville"][: min(characters, ends["Melville"])], alphabet, 0.1),
    }
    return seen, {name: Text.of(text[ends[name] :], alphabet, 1) for name, text in whole.items()}


def train_three(
    arguments: argparse.Namespace, seen: dict[str, Text], workers: Executor | None
) -> dict[str, Run]:
    """Train on Austen, go on with Melville, and train on Melville alone."""
    from _models.char_lm.model import Shape
    from _models.char_lm.options import file_of, settings_of
    from _models.char_lm.report import describe, introduce
    from _models.char_lm.training import Run, train

    shape = Shape(len(seen["Austen"].alphabet), layers=arguments.layers)
    settings = settings_of(arguments)
    tuning = replace(settings, steps=arguments.tuning, rate=arguments.tuning_rate)
    runs: dict[str, Run] = {}

    def run(name: str, text: Text, course: object, start: Parameters | None = None) -> None:
        runs[name] = Run(
            text, shape, "regard", course, start, file_of(arguments, name), arguments.resume,
            workers,
        )  # fmt: skip
        print(f"\n{introduce(runs[name])}", end="")
        train([runs[name]])
        print(describe(name, runs[name]))

    run(AUSTEN, seen["Austen"], settings)
    run(TUNED, seen["Melville"], tuning, runs[AUSTEN].best)
    run(ALONE, seen["Melville"], settings)
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and compare."""
    arguments = parse(argv)
    from _models.char_lm.report import perplexities, plot, sample, table
    from _models.char_lm.training import executor
    from _models.figures import Figure, write_figures

    seen, judged = read(arguments.characters)
    with executor(arguments.parallel, arguments.workers) as workers:
        runs = train_three(arguments, seen, workers)
    model = runs[AUSTEN].model
    states = {"untrained": model.shape.parameters(arguments.seed)}
    states |= {name: run.best for name, run in runs.items()}
    found = perplexities(model, states, judged, arguments.length)
    print(table(found))
    if arguments.plot:
        plot({name: run.curve for name, run in runs.items()}, arguments.plot)
        print(f"loss curves: {arguments.plot}")
    for name, run in runs.items():
        if arguments.sample:
            print(f"\n{name}: {sample(run, arguments.prompt, arguments.sample)}")
    if arguments.figures:
        count = len(seen["Melville"].training)
        of = {author: {n: round(row[author], 3) for n, row in found.items()} for author in judged}
        write_figures(
            arguments.figures, "language model",
            "a character model of regard.nn; r-cran-janeaustenr 1.0.0, r-cran-tokenizers 0.3.0",
            f"python examples/fine_tune.py --seed {arguments.seed}",
            [
                Figure(
                    f"perplexity of Moby-Dick's end, fine-tuned on {count:,} characters",
                    of["Melville"][TUNED], "",
                    {"these alone": of["Melville"][ALONE], "before": of["Melville"][AUSTEN]},
                ),
                Figure(
                    "perplexity of Austen's end, fine-tuned on Melville", of["Austen"][TUNED], "",
                    {"before": of["Austen"][AUSTEN]},
                ),
            ],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    # Pieces of a batch are computed at once, each by one thread. NumPy's OpenBLAS and OpenMP read
    # this when they are loaded, which they are not yet.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    raise SystemExit(main())
