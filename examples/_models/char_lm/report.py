"""What came of a training: figures, loss curves, samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regard.nn.evaluation import perplexity

from .model import Model, Parameters
from .text import Text
from .training import Curve, Run


def introduce(run: Run) -> str:
    """Tell what is trained, and on what."""
    text, numbers = run.text, sum(x.size for x in run.parameters.values())
    return (
        f"{len(text.training):,} characters to learn from, {len(text.validation):,} held out; "
        f"{numbers:,} parameters"
    )


def describe(name: str, run: Run) -> str:
    """Tell how a run went."""
    curve = run.curve
    lines = [f"\n{name}: {len(curve.training)} steps in {curve.seconds:.0f} s"]
    for steps, loss in curve.validation.items():
        lines.append(
            f"  after {steps:5} steps  validation loss {loss:.4f}  "
            f"perplexity {perplexity(loss):.3f}"
        )
    if run.of_stopping["stop"]:
        lines.append(f"  stopped early: none of the last {run.of_stopping['since']} was better")
    return "\n".join(lines)


def differences(first: Curve, second: Curve) -> str:
    """Tell how far apart two runs are."""
    pairs = list(zip(first.training, second.training, strict=True))
    lines = []
    for count in sorted({min(100, len(pairs)), len(pairs)}):
        largest = max(abs(a - b) for a, b in pairs[:count])
        lines.append(f"\nlargest difference of training losses in {count} steps: {largest:.1e}")
    apart = max(abs(first.validation[n] - second.validation[n]) for n in first.validation)
    return "".join(lines) + f"\nlargest difference of validation losses: {apart:.1e}"


def perplexities(
    model: Model, states: Mapping[str, Parameters], texts: Mapping[str, Text], length: int
) -> dict[str, dict[str, float]]:
    """Measure each state of a model on the held-out part of each text: by character."""
    return {
        state: {
            name: perplexity(model.loss(parameters, text.held_out(64, length)))
            for name, text in texts.items()
        }
        for state, parameters in states.items()
    }


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Write perplexities, a row for each state of a model."""
    lines = []
    for state, row in found.items():
        if not lines:
            lines.append("\nperplexity of a character" + "".join(f"{name:>10}" for name in row))
        lines.append(f"  {state:23}" + "".join(f"{cell:10.3f}" for cell in row.values()))
    return "\n".join(lines)


def sample(run: Run, prompt: str, characters: int, temperature: float = 0.8) -> str:
    """Continue a prompt; each character is drawn from what the model says of the text so far."""
    rng = np.random.default_rng(run.settings.seed)
    tokens = list(run.text.encode("\n" + prompt))
    for _ in range(characters):
        window = np.array([tokens[-run.settings.length :]])
        logits = run.model.logits(run.best, window)
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
    styles: Any = zip(curves.items(), ("-", "--", ":"), strict=False)
    for (name, curve), style in styles:
        steps = range(1, len(curve.training) + 1)
        axes.plot(steps, curve.training, style, lw=0.7, alpha=0.6, label=f"training, {name}")
        axes.plot(
            list(curve.validation), list(curve.validation.values()), style + "o", ms=3,
            label=f"validation, {name}",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss in nats a character")
    axes.grid(alpha=0.3)
    axes.legend()
    # The same curve is to be the same file, which a date would not be.
    metadata = {"Date": None} if file.suffix == ".svg" else {}
    figure.savefig(file, dpi=150, metadata=metadata)
    pyplot.close(figure)
