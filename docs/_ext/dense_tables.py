"""Tables of measurements: a number keeps its unit, and many columns are set smaller."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

QUANTITY = re.compile(
    r"(\d[\d.]*(?:e[-+]\d+)?(?: (?:%|ns|µs|ms|s|B|KiB|MiB|GiB|(?:GB|GFLOP)/s)(?!\w)|x)?)"
)
MANY = 6


class DenseTables(SphinxTransform):
    """Wrap quantities of table cells, and mark tables of many columns."""

    default_priority = 850

    def apply(self) -> None:
        """Walk over the tables of a page."""
        for table in self.document.findall(nodes.table):
            if next(iter(table.findall(nodes.tgroup)))["cols"] < MANY:
                continue
            table["classes"].append("dense")
            for text in list(table.findall(nodes.Text)):
                parts = QUANTITY.split(text.astext())
                if len(parts) > 1 and isinstance(text.parent, (nodes.paragraph, nodes.strong)):
                    text.parent.replace(text, [
                        nodes.inline("", part, classes=["quantity"]) if n % 2 else nodes.Text(part)
                        for n, part in enumerate(parts) if part
                    ])  # fmt: skip


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(DenseTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
