"""Train a model that draws digits pixel by pixel, in NumPy, and let it complete halves of them.

A causal transformer of 3 layers reads scikit-learn's digits (8 x 8 pixels of 17 levels, of the UCI
repository, CC BY 4.0) row by row, and says how likely each level of the next pixel is. What a
pixel of held-out images costs it, in bits, is put beside models that count.

    pip install scikit-learn safetensors tqdm matplotlib

    python examples/image_generation.py
    python examples/image_generation.py --plot halves.png --temperature 0.8

The model is in _models/pixels/model.py: layers of `regard.nn`, and a `regard.KVCache` for each of
them where pixels are drawn. --plot draws held-out digits whose lower halves are completed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _models.pixels.model import PixelModel

LEVELS, STEPS = 17, 300


def load(seed: int) -> tuple[Any, Any]:
    """Read digits as levels (count, 64), to learn from and held out."""
    import numpy as np

    from _models.vision.images import Split, digits

    split = Split.of(*digits(), seed)
    return tuple(
        np.rint(16 * images).astype(np.int64).reshape(len(images), -1)
        for images in (split.images, split.held_out_images)
    )  # type: ignore[return-value]


def train(images: Any, seed: int, steps: int, batch: int = 32) -> PixelModel:
    """Train a model."""
    from _models.pixels.model import Parameters, PixelModel
    from _models.vision.fitting import fit
    from regard.nn.training import Batches, step_seed

    model = PixelModel.random(seed)
    batches = Batches(len(images), batch, seed)

    def loss_and_gradients(parameters: Parameters, step: int) -> tuple[float, Parameters]:
        return model.loss_and_gradients(parameters, images[batches(step)], step_seed(seed, step))

    parameters, _ = fit(
        loss_and_gradients, model.state_dict(), steps=steps, rate=3e-3, label="pixels"
    )
    model.load_state_dict(parameters)
    return model


def bits(model: PixelModel, images: Any) -> float:
    """Bits that a pixel costs."""
    import numpy as np

    from regard.nn.training import cross_entropy

    return cross_entropy(model(images), images) / float(np.log(2))


def plot(model: PixelModel, held_out: Any, seed: int, temperature: float, count: int = 10) -> Any:
    """Draw held-out digits, and under each what the model makes of its upper half, three times."""
    import numpy as np
    from matplotlib.figure import Figure

    truth = held_out[:count]
    rng = np.random.default_rng(seed)
    drawn = [model.complete(truth[:, :32], rng, temperature) for _ in range(3)]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    rows = figure.subplots(4, count)
    for images, axes in zip([truth, *drawn], rows, strict=True):
        for image, ax in zip(images, axes, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=LEVELS - 1)
            if images is not truth:
                ax.axhline(3.5, color="#D55E00", linewidth=1)
            ax.axis("off")
    return figure


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the optimizer")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out, and all else")
    parser.add_argument("--temperature", type=float, default=1.0, help="of what is drawn")
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="where to keep trained weights, and look"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw completed halves")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = parser.parse_args(argv)
    if arguments.steps < 1 or arguments.temperature <= 0:
        parser.error("--steps has to be at least 1, and --temperature above 0")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and compare."""
    arguments = parse(argv)
    import numpy as np

    from _models.figures import Figure, write_figures
    from _models.pixels.baselines import by_neighbours, by_place
    from _models.pixels.model import PixelModel
    from _models.vision.fitting import kept

    images, held_out = load(arguments.seed)
    start = time.process_time()
    model = kept(
        arguments.weights, "pixels", PixelModel.random(arguments.seed),
        lambda: train(images, arguments.seed, arguments.steps),
    )  # fmt: skip
    seconds = time.process_time() - start
    size = sum(x.size for x in model.state_dict().values())
    found = bits(model, held_out)
    beside = {
        "levels to the left and above": by_neighbours(images, held_out, LEVELS),
        "levels of the place": by_place(images, held_out, LEVELS),
        "nothing known": float(np.log2(LEVELS)),
    }
    print(f"{len(images):,} digits to learn from, {len(held_out):,} held out; bits a pixel:")
    print(f"  {found:.3f}  transformer, {size:,} parameters, {seconds:.0f} s of CPU")
    for name, value in beside.items():
        print(f"  {value:.3f}  {name}")
    if arguments.plot:
        figure = plot(model, held_out, arguments.seed, arguments.temperature)
        figure.savefig(arguments.plot, dpi=150)
        print(f"completed halves: {arguments.plot}")
    if arguments.figures:
        write_figures(
            arguments.figures, "generation of images",
            "a pixel transformer of regard.nn; scikit-learn's digits",
            f"python examples/image_generation.py --seed {arguments.seed}",
            [Figure(f"{len(held_out)} held-out digits of 8 x 8 pixels", round(found, 3),
                    "bits a pixel", {name: round(value, 3) for name, value in beside.items()})],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    # The matrices are too small for threads, which NumPy's OpenBLAS and OpenMP read of here.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    raise SystemExit(main())
