"""Options of a call: from what users write to the plain values that the core reads."""

from __future__ import annotations

import numbers
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._arrays import coerce, int64

Causal: TypeAlias = "bool | Literal['lower_right', 'upper_left']"
Side: TypeAlias = "int | NDArray[np.integer[Any]] | None"
Window: TypeAlias = "int | NDArray[np.integer[Any]] | tuple[Side, Side] | None"
Similarity: TypeAlias = "Literal['dot', 'cosine']"

_CAUSAL: dict[Any, int] = {False: 0, True: 1, "lower_right": 1, "upper_left": 2}


def core_options(
    query: ArrayLike,
    *,
    causal: Any = False,
    window: Any = None,
    mask: Any = None,
    bias: Any = None,
    position_bias: Any = None,
    key_lengths: Any = None,
    query_lengths: Any = None,
    query_offset: Any = None,
    block_table: Any = None,
    key_scales: Any = None,
    value_scales: Any = None,
    scale: Any = None,
    softcap: Any = None,
    alibi_slopes: Any = None,
    sinks: Any = None,
    similarity: Any = "dot",
    dropout: Any = 0.0,
    seed: Any = None,
    num_threads: Any = None,
) -> dict[str, Any]:
    """Turn the options of `regard.attention` into what the core takes.

    Parameters
    ----------
    query : array_like
        For its dtype and number of heads.
    **options
        As in `regard.attention`.

    Returns
    -------
    dict
        Only what differs from a plain call; the core checks what depends on shapes.

    Raises
    ------
    TypeError, ValueError
        An option is not of a kind that can be meant.
    """
    options: dict[str, Any] = {}
    if causal is not False:
        options["causal"] = _causal(causal)
    if window is not None:
        _window(window, options)
    if mask is not None:
        _mask(mask, options)
    if bias is not None:
        options["bias"] = bias
    if key_lengths is not None:
        options["key_lengths"] = key_lengths
    if query_lengths is not None:
        options["query_lengths"] = query_lengths
    if query_offset is not None:
        options["query_offset"] = query_offset
    if block_table is not None:
        options["block_table"] = block_table
    if key_scales is not None:
        options["key_scales"] = key_scales
    if value_scales is not None:
        options["value_scales"] = value_scales
    if position_bias is not None:
        options["position_bias"] = _position_bias(position_bias, query)
    if scale is not None:
        options["scale"] = _per_head(scale, "scale")
    if softcap is not None:
        options["softcap"] = _per_head(softcap, "softcap")
    if sinks is not None:
        options["sinks"] = _per_head(sinks, "sinks")
    if alibi_slopes is not None:
        options["alibi_slopes"] = _floats(alibi_slopes, "alibi_slopes")
    if not _is_dot(similarity):
        options["cosine"] = True
    if not (isinstance(dropout, float) and dropout == 0.0):
        options["dropout"] = _number(dropout, "dropout", "the share of weights to drop")
    if seed is not None:
        options["seed"] = _seed(seed)
    if num_threads is not None:
        options["num_threads"] = _whole(
            num_threads, "num_threads", "a whole number of at least 1, or None for OpenMP's own"
        )
    return options


def check_names(function: str, options: dict[str, Any]) -> None:
    """Refuse options that `core_options` does not have, in the name of a public function.

    Raises
    ------
    TypeError
        There is no such option.
    """
    known = core_options.__kwdefaults__ or {}
    for name in options:
        if name not in known:
            from difflib import get_close_matches  # only who errs needs it

            close = get_close_matches(name, known, n=1)
            advice = f"Is {close[0]} meant?" if close else f"There are {', '.join(known)}."
            raise TypeError(f"{function}: there is no option {name}.\n  {advice}")


def _causal(causal: Any) -> int:
    try:
        return _CAUSAL[causal]
    except (KeyError, TypeError):
        raise ValueError(
            f"attention: causal is {causal!r}.\n  Give True or 'lower_right' (the last query sees "
            "the last key), 'upper_left' (the first query sees only the first key), or False."
        ) from None


def _window(window: Any, options: dict[str, Any]) -> None:
    sides = window if isinstance(window, (tuple, list)) else (window, window)
    if len(sides) != 2:
        raise ValueError(
            f"attention: window has {len(sides)} sides.\n  Give (left, right), or one number for "
            "both."
        )
    for name, side in zip(("window_left", "window_right"), sides, strict=True):
        if side is None:
            continue
        if isinstance(side, np.ndarray) and side.ndim > 0:
            options[name] = _window_of_heads(side)
        elif isinstance(side, bool) or not isinstance(side, (numbers.Integral, np.integer)):
            raise TypeError(
                f"attention: window is {window!r}.\n  Give a number of keys, (left, right), None "
                "on a side that has no limit, or an integer array with one number a head."
            )
        else:
            options[name] = int64(side)


def _window_of_heads(side: NDArray[Any]) -> list[int]:
    advice = "Give integers, one for each head of query; -1 is no limit."
    if side.dtype.kind not in "iu":
        raise TypeError(f"attention: window has an array of dtype {side.dtype}.\n  {advice}")
    if side.ndim != 1:
        raise ValueError(f"attention: window has an array of shape {side.shape}.\n  {advice}")
    return [int64(keys) for keys in side]


def _mask(mask: Any, options: dict[str, Any]) -> None:
    if isinstance(mask, np.ndarray) or not hasattr(mask, "to_dense"):
        options["mask"] = mask
        return
    from regard.masks import BlockMask, PackedMask  # not needed by who has no such mask

    if isinstance(mask, BlockMask):
        options["block_mask"] = mask
    elif isinstance(mask, PackedMask):
        options["packed_mask"] = mask.bits
        options["packed_keys"] = mask.keys
    else:
        options["mask"] = mask


def _position_bias(bias: Any, query: ArrayLike) -> tuple[NDArray[Any], int, int]:
    if isinstance(bias, type) or not (hasattr(bias, "lower") and hasattr(bias, "to_dense")):
        raise TypeError(
            f"attention: position_bias is a {type(bias).__name__}.\n  Give an object of "
            "regard.bias: Relative, T5 or Grid; arrays of scores go in bias=."
        )
    shape = np.shape(query)
    heads = shape[-3] if len(shape) > 2 else 1
    wide = coerce(query, "query", "input").dtype == np.float64
    lowered = bias.lower(heads, np.float64 if wide else np.float32)
    return lowered["table"], lowered["height"], lowered["width"]


def _per_head(value: Any, name: str) -> float | list[float]:
    """One number, or a list of one a head."""
    if isinstance(value, (np.ndarray, list, tuple)) and np.ndim(value) > 0:
        array = _floats(value, name)
        if array.ndim != 1:
            raise ValueError(
                f"attention: {name} has shape {array.shape}.\n  Give one number for all heads, or "
                "a 1-D array with one for each head of query."
            )
        numbers_of_heads: list[float] = array.tolist()
        return numbers_of_heads
    what = "1 / sqrt(head_dim)" if name == "scale" else "none"
    return _number(value, name, f"a number, an array with one a head, or None for {what}")


def _floats(value: Any, name: str) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"attention: {name} has dtype {array.dtype}.\n  Give real numbers.")
    return array.astype(np.float64)


def _number(value: Any, name: str, wanted: str) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, np.floating, np.integer)):
        raise TypeError(f"attention: {name} is a {type(value).__name__}.\n  Give {wanted}.")
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # which the core refuses


def _whole(value: Any, name: str, wanted: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(f"attention: {name} is {value!r}.\n  Give {wanted}.")
    return int64(value)


def _is_dot(similarity: Any) -> bool:
    if isinstance(similarity, str) and similarity in ("dot", "cosine"):
        return similarity == "dot"
    raise ValueError(
        f"attention: similarity is {similarity!r}.\n  Give 'dot' (the dot product of query and "
        "key) or 'cosine' (of the two brought to length 1)."
    )


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (numbers.Integral, np.integer)):
        raise TypeError(
            f"attention: seed is a {type(seed).__name__}.\n  Give an integer from 0 to 2**64 - 1."
        )
    if not 0 <= int(seed) < 2**64:
        raise ValueError(f"attention: seed is {seed}.\n  Give an integer from 0 to 2**64 - 1.")
    return int(seed)
