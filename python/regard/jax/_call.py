"""From the arguments of `attention` to what XLA is given: arrays by name, and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from regard import _core
from regard._call.core_options import check_names, core_options
from regard._call.options import names
from regard.gradients import INPUTS
from regard.jax._stand_ins import is_traced, stand_in

Attribute: TypeAlias = "int | float | tuple[int, ...] | tuple[float, ...]"

_ARRAYS = names(lambda option: option.traced)
_NUMBERS = names(lambda option: option.gradient == "numbers")
_LENGTHS = names(lambda option: option.kind == "lengths")
#: How many axes arrays have behind those of the batch.
TRAILING = {
    "query": 3, "key": 3, "value": 3, "out": 3, "dout": 3, "dquery": 3, "dkey": 3, "dvalue": 3,
    "mask": 3, "packed_mask": 3, "bias": 3, "key_scales": 2, "value_scales": 2, "query_scale": 2,
    "lse": 2, "dlse": 2, "alibi_slopes": 1, "block_table": 1,
    "key_lengths": 0, "query_lengths": 0, "query_offset": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """What is fixed when a program is traced.

    Attributes
    ----------
    operands : tuple of str
        Names of the arrays, query, key and value first.
    attributes : tuple of (str, number or tuple of numbers)
        Options of the core that are no arrays.
    tokens_first : bool
        Whether query, key, value and the output are (..., length, heads, dim).
    """

    operands: tuple[str, ...]
    attributes: tuple[tuple[str, Attribute], ...]
    tokens_first: bool = False


def computed_dtype(query: Any) -> np.dtype[Any]:
    """Return the dtype that a query is computed in."""
    return np.dtype(np.float64 if query.dtype == np.float64 else np.float32)


def prepare(
    inputs: Mapping[str, jax.Array],
    options: Mapping[str, Any],
    table: jax.Array | None,
    tokens_first: bool,
) -> tuple[Call, list[jax.Array]]:
    """Check a call, and put its arrays in order.

    Parameters
    ----------
    inputs : mapping of str to Array
        query, key and value.
    options : mapping
        As in `regard.attention`, without layout.
    table : Array, optional
        In place of the table of the position bias.
    tokens_first : bool
        As in `Call`.

    Returns
    -------
    Call
    list of Array
        In the order of its operands; batch axes of one are put in front where others have them.

    Raises
    ------
    ValueError, TypeError
        Something does not fit, as far as it is known while the program is traced.
    """
    check_names("attention", dict(options))
    given = {name: x for name, x in options.items() if x is not None}
    for name in ("score_mod", "score_mod_gradient"):
        if name in given:
            raise TypeError(
                f"attention: {name} is not for JAX.\n  A compiled program may outlive the "
                "function; give a bias, a position_bias or softcap."
            )
    arrays = {name: _array(name, x) for name, x in inputs.items()}
    core = _checked(arrays, given, table, tokens_first)
    computed = computed_dtype(arrays["query"])
    attributes: dict[str, Attribute] = {}
    for name, value in core.items():
        if name == "block_mask":
            arrays.update(_tiles(value, attributes))
        elif name == "position_bias":
            lowered, attributes["position_bias.height"], attributes["position_bias.width"] = value
            arrays[name] = jnp.asarray(
                lowered if table is None else _lowered(given[name], table, lowered.shape), computed
            )
        elif name == "mask":
            arrays[name] = _mask(given)
        elif name == "packed_mask":
            arrays[name] = jnp.asarray(value)
        elif name in _NUMBERS:
            arrays[name] = jnp.asarray(given[name]).astype(computed)
        elif name in ("bias", "block_table", "key_scales", "value_scales", *_LENGTHS):
            arrays[name] = _array(name, given.get(name, value))  # a key_mask may become lengths
        elif name == "seed" and isinstance(given[name], jax.Array):
            arrays[name] = given[name]
        else:
            attributes[name] = _attribute(value)
    if "sinks" in arrays:
        heads = arrays["query"].shape[-2 if tokens_first else -3 :][0]
        arrays["sinks"] = jnp.broadcast_to(arrays["sinks"], (heads,))
    if is_traced(given.get("key_mask")) and ("block_mask" in core or "packed_mask" in core):
        # Their tiles and bits are part of the program; what hides keys at run time is added.
        hidden = jnp.where(_of_pairs(given["key_mask"]), 0, -jnp.inf).astype(computed)
        arrays["bias"] = arrays["bias"] + hidden if "bias" in arrays else hidden
    call = Call(tuple(arrays), tuple(sorted(attributes.items())), tokens_first)
    return call, list(_aligned(arrays, "block_table" in arrays).values())


def _checked(
    inputs: dict[str, jax.Array],
    given: dict[str, Any],
    table: jax.Array | None,
    tokens_first: bool,
) -> dict[str, Any]:
    """Options as the core takes them, after it has seen a call of these shapes."""
    like = {name: stand_in(x) for name, x in inputs.items()}
    if tokens_first:
        like = {name: x.swapaxes(-3, -2) for name, x in like.items()}
    options: dict[str, Any] = {}
    key_mask = given.get("key_mask")
    for name, value in given.items():
        if name == "key_mask" and is_traced(value):  # its values would decide what becomes of it
            core_options(like["query"], like["key"], {name: stand_in(value)})
        elif name in _ARRAYS and isinstance(value, jax.Array):
            options[name] = stand_in(value, name, like)
        elif is_traced(value):
            raise TypeError(
                f"attention: {name} is traced.\n  Give a value that is known when the program is "
                "traced, e.g. by static_argnames of jit. It has no gradient."
            )
        else:
            options[name] = np.asarray(value) if isinstance(value, jax.Array) else value
    if table is not None:
        options["position_bias"] = given["position_bias"].with_table(
            np.zeros(table.shape, np.float64)
        )
    if "seed" in options and isinstance(options["seed"], np.ndarray):
        options["seed"] = int(options["seed"])
    core: dict[str, Any] = {**core_options(like["query"], like["key"], options)}
    if is_traced(key_mask) and "block_mask" not in core and "packed_mask" not in core:
        core.setdefault("mask", stand_in(_of_pairs(key_mask)))
    _core.explain(like["query"], like["key"], like["value"], core or None, "forward", 8)  # type: ignore[arg-type]
    return core


def _array(name: str, x: Any) -> jax.Array:
    if name in _LENGTHS and not isinstance(x, jax.Array):
        # Offsets beyond 32 bits mean the same as the last of them.
        most = np.iinfo(np.int64 if jax.config.jax_enable_x64 else np.int32).max
        x = np.clip(np.asarray(x), -most, most)
    array: jax.Array = jnp.asarray(x)
    if name in INPUTS and array.dtype != jnp.int8 and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"attention: {name} has dtype {array.dtype}.\n  Use float32, float64, float16 or "
            "bfloat16."
        )
    if name == "bias" and not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.float32)
    return array


def _mask(given: dict[str, Any]) -> jax.Array:
    mask, key_mask = given.get("mask"), given.get("key_mask")
    if key_mask is None:
        return jnp.asarray(mask)
    seen = _of_pairs(key_mask)
    return seen if mask is None else jnp.asarray(mask) & seen


def _of_pairs(key_mask: Any) -> jax.Array:
    """(..., keys) as (..., heads, queries, keys)."""
    return jnp.asarray(key_mask).astype(bool)[..., None, None, :]


def _tiles(mask: Any, attributes: dict[str, Attribute]) -> dict[str, jax.Array]:
    attributes["block_mask.shape"] = tuple(int(n) for n in mask.shape)
    attributes["block_mask.block_size"] = int(mask.block_size)
    parts = ("indptr", "indices", "partial", "tiles")
    return {f"block_mask.{part}": jnp.asarray(getattr(mask, part)) for part in parts}


def _lowered(bias: Any, table: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Look up in a table what the bias looks up in its own, by lowering numbers of places."""
    places = np.arange(table.size, dtype=np.float64).reshape(table.shape)
    lowered = bias.with_table(places).lower(shape[0], np.float64)["table"]
    found: jax.Array = table.reshape(-1)[lowered.astype(np.int32)]
    return found


def _attribute(value: Any) -> Attribute:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, int) and value >= 2**63:  # a seed, which the core reads as 64 bits
        return value - 2**64
    number: Attribute = value
    return number


def _aligned(arrays: dict[str, jax.Array], paged: bool) -> dict[str, jax.Array]:
    """Put axes of one in front, so that all have the same number of batch axes."""
    of_batch = ("query", "block_table") if paged else INPUTS
    batch = max(0, *(arrays[name].ndim - TRAILING[name] for name in of_batch))
    kept = ("key", "value", "key_scales", "value_scales") if paged else ()  # in pages
    return {
        name: with_batch_axes(x, batch + TRAILING[name])
        if name in TRAILING and name not in kept
        else x
        for name, x in arrays.items()
    }


def with_batch_axes(x: jax.Array, rank: int) -> jax.Array:
    """Put axes of one in front until an array has so many."""
    missing = rank - x.ndim
    return x.reshape((1,) * missing + x.shape) if missing > 0 else x
