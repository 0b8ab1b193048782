"""A mask that is only made when something other than attention looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

from regard.transformers._stats import count

_ATEN = torch.ops.aten
_SLICE: tuple[Any, ...] = (None, 0, None, None, 1)  # what is left out of (mask, axis, ..., step)
_SAME = (_ATEN.detach.default, _ATEN.alias.default)


class LazyMask(torch.Tensor):
    """A mask (batch, 1, Sq, Sk) without memory, which carries what it says as options.

    Models pass masks on untouched, for the most part. Those that work on theirs, slice it or add to
    it, get the dense mask by any operation of torch: additive and in the dtype of the model, as
    eager attention has it, since that is what every model knows.

    Attributes
    ----------
    options : dict
        What of ``regard.attention`` means the same.
    within_pieces : dict or None
        The same within each of several packed texts, where the mask says nothing but that the
        texts do not see each other; None where it says more.
    """

    options: dict[str, Any]
    within_pieces: dict[str, Any] | None
    _make: Callable[[], torch.Tensor]
    _made: torch.Tensor | None

    @staticmethod
    def __new__(
        cls,
        options: dict[str, Any],
        make: Callable[[], torch.Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        within_pieces: dict[str, Any] | None = None,
    ) -> LazyMask:
        mask = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device="cpu")
        mask.options, mask.within_pieces = options, within_pieces
        mask._make, mask._made = make, None
        return mask  # type: ignore[no-any-return]

    def dense(self) -> torch.Tensor:
        """Make the mask that was promised, once."""
        if self._made is None:
            count("mask: made dense")
            with _disable_current_modes():
                self._made = self._make()
        return self._made

    def __repr__(self, **_: Any) -> str:
        return f"LazyMask({tuple(self.shape)}, {self.options})"

    def contiguous(self, *_: Any, **__: Any) -> LazyMask:
        """Return the mask itself: it has no memory to be in order."""
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if args and isinstance(args[0], LazyMask) and _changes_nothing(function, args):
            mask = args[0]
            shape = tuple(mask.shape)
            return LazyMask(mask.options, mask.dense, shape, mask.dtype, mask.within_pieces)
        args, kwargs = tree_map(
            lambda x: x.dense() if isinstance(x, LazyMask) else x, (args, kwargs or {})
        )
        return function(*args, **kwargs)


def _changes_nothing(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation gives the same mask again, like ``mask[:, :, :, :keys]`` mostly does."""
    if function in _SAME:
        return True
    if function is not _ATEN.slice.Tensor:
        return False
    mask, axis, start, end, step = args + _SLICE[len(args) :]
    whole = end is None or end >= mask.shape[axis]
    return start in (None, 0) and step == 1 and whole
