"""Pictures of attention. They need matplotlib, the extra ``plot``.

Each function returns a matplotlib figure; :func:`save` writes it as PNG, SVG, PDF or HTML.
"""

from regard._matplotlib import save
from regard.plot._heads import heads
from regard.plot._heatmap import heatmap
from regard.plot._summary import summary

__all__ = ["heads", "heatmap", "save", "summary"]
