"""What a layer's masks are made of: what is known of positions, and the mask for the rest."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops


class Masks(NamedTuple):
    """A layer's masks before they are one.

    Attributes
    ----------
    mask : tensor of bool, optional
        True = attend; broadcasts to the scores.
    causal : bool
        Query i sees the keys ``j <= i``.
    window : int, optional
        Query i sees the keys nearer than this.
    """

    mask: Any = None
    causal: bool = False
    window: int | None = None


class StructuredMasks:
    """The part of a layer that keeps the causal mask and the window out of the mask of pairs."""

    def _compute_attention_mask(
        self, query: Any, value: Any, use_causal_mask: bool = False, **masks: Any
    ) -> Masks:
        of_pairs = None
        if any(mask is not None for mask in masks.values()):
            of_pairs = super()._compute_attention_mask(query, value, **masks)  # type: ignore[misc]
        return Masks(of_pairs, bool(use_causal_mask), self._window())

    def _compute_sliding_window_mask(self, query: Any, value: Any = None) -> Any:
        return ops.ones((1, 1, 1), "bool")  # the kernel knows it

    def _window(self) -> int | None:
        raise NotImplementedError

    def _merged(self, masks: Masks, query: Any, key: Any) -> Any:
        """All of them as one, as the stock layer has it."""
        merged = None if masks.mask is None else ops.cast(masks.mask, "bool")
        layer: Any = super()
        parts = []
        if masks.causal:
            parts.append(layer._compute_causal_mask(query, key))
        if masks.window is not None:
            parts.append(layer._compute_sliding_window_mask(query, key))
        for part in parts:
            merged = part if merged is None else ops.logical_and(merged, part)
        return merged


def as_masks(mask: Any, use_causal_mask: bool) -> Masks:
    """Masks of a caller that has none of ours, but a tensor."""
    return mask if isinstance(mask, Masks) else Masks(mask, use_causal_mask)
