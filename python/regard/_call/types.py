"""Types of what a caller may give, for signatures."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Causal: TypeAlias = "bool | Literal['lower_right', 'upper_left']"
Side: TypeAlias = "int | NDArray[np.integer[Any]] | None"
Window: TypeAlias = "int | NDArray[np.integer[Any]] | tuple[Side, Side] | None"
Similarity: TypeAlias = "Literal['dot', 'cosine']"
