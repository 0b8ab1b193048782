"""Masks that are smaller than one byte a position, and ready-made patterns of them.

`PackedMask` keeps a bit for each position. `BlockMask` keeps tiles, and of those only what is
neither empty nor full. The functions here build a `BlockMask` by index arithmetic, from nothing of
size (queries, keys); they combine with ``&``, ``|`` and ``~``.

>>> from regard import masks
>>> masks.documents([0, 0, 1, 1, 1]) & masks.causal(5, 5)
BlockMask(shape=(5, 5), block_size=128, density=0.36, blocks=1/1, full=0)
▒
"""

from regard.masks._block import BlockMask
from regard.masks._packed import PackedMask
from regard.masks._patterns import causal, documents, prefix_lm
from regard.masks._windows import dilated, sliding_window_global

from_function = BlockMask.from_function

__all__ = [
    "BlockMask",
    "PackedMask",
    "causal",
    "dilated",
    "documents",
    "from_function",
    "prefix_lm",
    "sliding_window_global",
]
