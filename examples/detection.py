"""Train a detector that asks for objects by learned queries, in NumPy, attention by regard.

Images of 48 x 48 pixels are drawn: up to five circles, squares and triangles that cover each other,
on uneven ground, with noise, and lines that are no objects. DETR's idea in small: an encoder over
patches, and a decoder whose eight queries attend to them, each for one object or none. The loss
matches objects with queries by scipy's `linear_sum_assignment`.

    pip install scikit-learn pycocotools safetensors tqdm matplotlib

    python examples/detection.py
    python examples/detection.py --steps 1000 --plot detection.png

Model and loss are in _models/detection, of layers of `regard.nn`. Beside it: connected components
of bright pixels with logistic regression, and always the same eight boxes. pycocotools (FreeBSD
licence) has the average precision of COCO. --plot draws what is found, and what queries attend to.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _models.detection.found import Found
    from _models.detection.model import Detector
    from _models.detection.scenes import Scenes

STEPS = 5000
COLOURS = "#56B4E9", "#E69F00", "#CC79A7"  # of the classes; Okabe and Ito's


def measure(found: Found, scenes: Scenes, least: float) -> dict[str, float]:
    """Measure in per cent what was found at least that surely; all of it for AP."""
    from _models.detection.found import average_precision, overlaps

    value, label, matched = overlaps(found.sure(least), scenes)
    near = value >= 0.5
    precision, at_half = average_precision(found, scenes)
    return {
        "IoU": 100 * float(value.mean()),
        "class": 100 * float((label == matched)[near].mean()),
        "AP": precision,
        "AP50": at_half,
    }


def beside(seed: int, scenes: Scenes, queries: int) -> dict[str, dict[str, float]]:
    """Measure the simple detectors."""
    from _models.detection.baselines import Components, always_the_same
    from _models.detection.course import of_baselines

    learned = of_baselines(seed)
    return {
        "connected components": measure(Components.fit(learned)(scenes.images), scenes, 0),
        "always the same boxes": measure(always_the_same(learned, queries, len(scenes)), scenes, 0),
    }


def plot(model: Detector, scenes: Scenes, count: int = 4, most: int = 4) -> Any:
    """Draw scenes with the boxes that were found, and the attention of the queries that did."""
    import numpy as np
    from matplotlib.figure import Figure

    from _models.detection.found import Found
    from _models.detection.scenes import NAMES, SIDE

    images = scenes.images[:count]
    found = Found.of_queries(*model(images))
    maps = model.cross_attention(images)
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    middle, half = (model.window - 1) / 2, model.stride / 2
    ends = [middle - half + model.stride * side for side in (0, maps.shape[-1])]
    for number, axes in enumerate(figure.subplots(count, 1 + most)):
        chosen = np.flatnonzero((found.image == number) & (found.score >= 0.5))
        chosen = chosen[np.argsort(-found.score[chosen], kind="stable")]
        for ax in axes:
            ax.set(xlim=(-0.5, SIDE - 0.5), ylim=(SIDE - 0.5, -0.5))
            ax.axis("off")
        axes[0].imshow(images[number], cmap="gray", vmin=0, vmax=1.1)
        for box in scenes.boxes[number][scenes.labels[number] >= 0]:
            _outline(axes[0], box * SIDE, edgecolor="white", linestyle=":")
        for index in chosen:
            _outline(axes[0], found.box[index] * SIDE, edgecolor=COLOURS[found.label[index]])
        for index, ax in zip(chosen, axes[1:], strict=False):
            ax.imshow(images[number], cmap="gray", vmin=0, vmax=1.1)
            ax.imshow(
                maps.reshape(-1, *maps.shape[2:])[index], cmap="inferno", alpha=0.65,
                interpolation="bilinear", extent=(*ends, *reversed(ends)),
            )  # fmt: skip
            ax.set(xlim=(-0.5, SIDE - 0.5), ylim=(SIDE - 0.5, -0.5))
            _outline(ax, found.box[index] * SIDE, edgecolor=COLOURS[found.label[index]])
            ax.set_title(f"{NAMES[found.label[index]]} {found.score[index]:.2f}", fontsize=9)
    return figure


def _outline(ax: Any, box: Any, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    x, y, width, height = box
    # The middle of the first pixel is 0 in a picture, and its edge 0 of a box.
    corner = x - width / 2 - 0.5, y - height / 2 - 0.5
    ax.add_patch(Rectangle(corner, width, height, fill=False, linewidth=1.5, **style))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the optimizer")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="where to keep trained weights, and look"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw boxes and attention")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = parser.parse_args(argv)
    if arguments.steps < 1 or arguments.seed < 0:
        parser.error("--steps has to be at least 1, and --seed at least 0")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and compare."""
    arguments = parse(argv)
    from _models.packages import package_folder

    package_folder("sklearn", "pip install scikit-learn")  # scipy comes with it
    from _models.detection.course import held_out, train
    from _models.detection.found import Found
    from _models.detection.model import Detector
    from _models.figures import Figure, write_figures
    from _models.vision.fitting import kept

    start = time.process_time()
    model = kept(
        arguments.weights, "detector", Detector.random(arguments.seed),
        lambda: train(arguments.seed, arguments.steps),
    )  # fmt: skip
    seconds = time.process_time() - start
    scenes = held_out(arguments.seed)
    rows = {"object queries": measure(Found.of_queries(*model(scenes.images)), scenes, 0.5)}
    rows |= beside(arguments.seed, scenes, len(model.queries))
    size, objects = sum(x.size for x in model.state_dict().values()), (scenes.labels >= 0).sum()
    print(f"{size:,} parameters, {seconds:.0f} s of CPU; {len(scenes):,} held-out scenes, "
          f"{objects:,} objects; per cent:")  # fmt: skip
    print(" " * 22 + "".join(f"{name:>7}" for name in rows["object queries"]))
    for who, row in rows.items():
        print(f"{who:<22}" + "".join(f"{value:7.1f}" for value in row.values()), flush=True)
    if arguments.plot:
        plot(model, scenes).savefig(arguments.plot, dpi=150)
        print(f"boxes and attention: {arguments.plot}")
    if arguments.figures:
        mine, *others = ({n: round(x, 1) for n, x in row.items()} for row in rows.values())
        titles = {
            "IoU": "mean IoU of objects, 0 if not found", "class": "class, of objects found",
            "AP": "average precision (COCO)", "AP50": "average precision at IoU 0.5",
        }  # fmt: skip
        write_figures(
            arguments.figures, "detection",
            "object queries of regard.nn; drawn scenes of 48 x 48 pixels",
            f"python examples/detection.py --seed {arguments.seed}",
            [Figure(f"{title}, {objects:,} objects", mine[name], "%",
                    dict(zip(list(rows)[1:], (other[name] for other in others), strict=True)))
             for name, title in titles.items()],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    # The matrices are too small for threads, which NumPy's OpenBLAS and OpenMP read of here.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    raise SystemExit(main())
