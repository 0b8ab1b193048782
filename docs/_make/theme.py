"""Pictures for light and for dark pages: the same drawing in two sets of colours."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).resolve().parents[1] / "pictures"

# Okabe and Ito's palette, told apart by every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK = {False: "#222222", True: "#d8dade"}


def accent(ink: str) -> str:
    """Return the blue that stands out from the ground which that colour of text is for."""
    return BLUE if ink == INK[False] else "#56B4E9"


@contextmanager
def theme(dark: bool) -> Iterator[str]:
    """Set matplotlib's colours; gives that of text. The ground is the page's own."""
    import matplotlib

    ink = INK[dark]
    colours = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    )
    ground = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
    lines = matplotlib.cycler(color=[accent(ink), ORANGE, GREEN, PURPLE])
    style = {**colours, **ground, "axes.prop_cycle": lines}
    with matplotlib.rc_context({**style, "svg.hashsalt": "regard", "font.size": 11}):
        yield ink


def save(name: str, draw: Callable[[str], Any], photographs: bool = False) -> None:
    """Draw a figure twice: ``draw`` gets the colour of text and returns the figure."""
    for dark in (False, True):
        with theme(dark) as ink:
            path = PICTURES / f"{name}{'-dark' if dark else ''}.svg"
            draw(ink).savefig(path, metadata={"Date": None})
            if photographs:
                path.write_text(with_jpeg(path.read_text("utf-8")), "utf-8")
            print(path.relative_to(PICTURES.parents[1]))


def with_jpeg(svg: str) -> str:
    """Return a drawing whose images, which are opaque photographs, are JPEG: a tenth of PNG."""
    from PIL import Image

    def smaller(found: re.Match[str]) -> str:
        with Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
            into = io.BytesIO()
            image.convert("RGB").save(into, "JPEG", quality=88, optimize=True)
        return "data:image/jpeg;base64," + base64.b64encode(into.getvalue()).decode()

    return re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", smaller, svg)


def darkened(svg: str) -> str:
    """Return a drawing made by hand for white pages in the colours of a dark one."""
    for light, dark in (
        ("#ffffff", "#1a1c1e"),
        ("#eeeeee", "#2b2e31"),
        ("#dddddd", "#3a3e42"),
        ("#cccccc", "#45494e"),
        ("#222222", INK[True]),
        ("#555555", "#a9adb3"),
        ("#0072B2", "#56B4E9"),
        ("#009E73", "#2fc79b"),
        ("#D55E00", "#f28c3c"),
    ):
        svg = svg.replace(light, dark)
    return svg
