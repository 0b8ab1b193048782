"""A picture with a twin for dark pages, ``NAME-dark.svg`` beside ``NAME.svg``, is shown as either.

Furo hides what has the class of the other theme. Pages name the light picture alone, so that they
look right wherever else they are read.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class DarkPictures(SphinxTransform):
    """Put the twin behind each picture that has one."""

    default_priority = 200  # before Sphinx collects the files of images

    def apply(self) -> None:
        """Walk over the images of a page."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        for image in list(self.document.findall(nodes.image)):
            name = PurePosixPath(image["uri"])
            twin = str(name.with_name(f"{name.stem}-dark{name.suffix}"))
            root = Path(self.env.srcdir) if twin.startswith("/") else here
            if "only-light" in image["classes"] or not (root / twin.lstrip("/")).exists():
                continue
            dark = image.deepcopy()
            dark["uri"] = twin
            dark["classes"].append("only-dark")
            image["classes"].append("only-light")
            image.parent.insert(image.parent.index(image) + 1, dark)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(DarkPictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
