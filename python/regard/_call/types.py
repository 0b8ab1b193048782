"""Types of what a caller may give, for signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from typing_extensions import CapsuleType

    from regard.bias import PositionBias
    from regard.masks import BlockMask, PackedMask

    class HasAddress(Protocol):
        """A compiled function as numba.cfunc makes it."""

        @property
        def address(self) -> int: ...
        @property
        def ctypes(self) -> Any: ...


Causal: TypeAlias = "bool | Literal['lower_right', 'upper_left']"
Side: TypeAlias = "int | NDArray[np.integer[Any]] | Sequence[int | None] | None"
Window: TypeAlias = "int | NDArray[np.integer[Any]] | tuple[Side, Side] | None"
# Also what has a C address and no type to say so: PyCapsules, functions of ctypes.
ScoreMod: TypeAlias = "Callable[..., ArrayLike] | HasAddress | tuple[Any, ...] | CapsuleType"
Similarity: TypeAlias = "Literal['dot', 'cosine']"
Stage: TypeAlias = "Literal['scaled', 'softcapped', 'masked', 'weights']"


class CommonOptions(TypedDict, total=False):
    """Options that all functions with options have, as `regard.attention` documents them."""

    causal: Causal
    window: Window
    mask: ArrayLike | BlockMask | PackedMask | None
    key_mask: ArrayLike | None
    bias: ArrayLike | None
    position_bias: PositionBias | None
    score_mod: ScoreMod | None
    score_mod_gradient: ScoreMod | None
    query_lengths: ArrayLike | None
    query_offset: ArrayLike | None
    scale: ArrayLike | None
    query_scale: ArrayLike | None
    softcap: ArrayLike | None
    alibi_slopes: ArrayLike | None
    sinks: ArrayLike | None
    similarity: Similarity
    num_threads: int | None
    layout: str | None


class ScoreOptions(CommonOptions, total=False):
    """Those that concern scores."""

    key_lengths: ArrayLike | None
    block_table: ArrayLike | None
    key_scales: ArrayLike | None


class AttentionOptions(ScoreOptions, total=False):
    """All of them, but what is returned and where."""

    value_scales: ArrayLike | None
    dropout: float
    seed: int | None


class ExplainedOptions(AttentionOptions, total=False):
    """All of them."""

    return_lse: bool
    out: NDArray[Any] | None


class DifferentiableOptions(CommonOptions, total=False):
    """Those of calls that have derivatives."""

    key_lengths: ArrayLike | None
    dropout: float
    seed: int | None


class CachedOptions(CommonOptions, total=False):
    """Those that a cache leaves to its caller."""

    dropout: float
    seed: int | None
