"""The options of attention, described once: all that reads options by name asks here.

A new option is an entry here, a parameter of `regard.attention` (which the tests hold against its
entry) and what the core reads (likewise, in its stub).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from regard._call import conversions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Adds an option to those of the core: its name, its value, and query.
Conversion: TypeAlias = "Callable[[dict[str, Any], str, Any, ArrayLike], None]"

Kind: TypeAlias = Literal[
    "positions",  # which keys a query sees, by where they stand
    "lengths",  # an integer for each batch element
    "pairs",  # broadcasts to (..., Hq, Sq, Sk)
    "rows",  # a number for each row of an input
    "pages",  # where rows lie
    "heads",  # one number, or one for each head
    "number",
    "word",
    "object",
    "result",  # what is returned, and where: an argument of its own in the core's functions
    "frame",  # how arrays lie, and which tokens are padding: said to the core by other options
]
Gradient: TypeAlias = Literal["array", "numbers", "refused", None]
Cached: TypeAlias = Literal["always", "without_window", "never"]


class Option:
    """An option, and what each of its readers has to know of it.

    Attributes
    ----------
    name, annotation, default
        As in the signature of `regard.attention`.
    kind : Kind
        What its values are.
    convert : Conversion
        How it gets into the options of the core.
    core : tuple of str
        What it is called there: one of these, or several.
    scores : bool
        Whether `attention_weights` and `attention_summary` have it.
    gradient : {None, "array", "numbers", "refused"}
        There is one by it, of an array or of a few numbers, which are summed in float64; or there
        are no derivatives with it at all. None: it has none, and is in nobody's way.
    offset : bool
        Whether it says where the first query stands among the keys.
    cached : {"always", "without_window", "never"}
        Whether a caller may give it when a cache attends. It is "never" where the cache decides,
        and "without_window" what makes no sense, or another one, under a window over tokens.
    traced : bool
        Whether JAX may trace it.
    """

    def __init__(
        self,
        name: str,
        annotation: str,
        default: object,
        kind: Kind,
        convert: Conversion = conversions.as_given,
        *,
        core: tuple[str, ...] = (),
        scores: bool = True,
        gradient: Gradient = None,
        offset: bool = False,
        cached: Cached = "without_window",
        traced: bool = False,
    ) -> None:
        self.name, self.annotation, self.default = name, annotation, default
        self.kind, self.convert, self.core = kind, convert, core or (name,)
        self.scores, self.gradient, self.offset = scores, gradient, offset
        self.cached, self.traced = cached, traced


_ARRAY = "ArrayLike | None"

#: In the order of the signature of `regard.attention`.
OPTIONS: tuple[Option, ...] = (
    Option(
        "causal", "Causal", False, "positions", conversions.causal, offset=True, cached="always"
    ),
    Option(
        "window", "Window", None, "positions", conversions.window,
        core=("window_left", "window_right"),
    ),
    Option(
        "mask", "ArrayLike | BlockMask | PackedMask | None", None, "pairs", conversions.mask,
        core=("mask", "block_mask", "packed_mask", "packed_keys"), traced=True,
    ),
    Option("key_mask", _ARRAY, None, "frame", traced=True),
    Option("bias", _ARRAY, None, "pairs", gradient="array", traced=True),
    Option(
        "position_bias", "PositionBias | None", None, "object", conversions.position_bias,
        gradient="numbers", cached="always",
    ),
    Option("score_mod", "ScoreMod | None", None, "object", conversions.score_mod),
    Option("score_mod_gradient", "ScoreMod | None", None, "object", conversions.score_mod),
    Option("key_lengths", _ARRAY, None, "lengths", offset=True, cached="never", traced=True),
    Option("query_lengths", _ARRAY, None, "lengths", offset=True, cached="always", traced=True),
    Option("query_offset", _ARRAY, None, "lengths", offset=True, traced=True),
    Option("block_table", _ARRAY, None, "pages", gradient="refused", cached="never"),
    Option("key_scales", _ARRAY, None, "rows", gradient="refused", cached="never", traced=True),
    Option(
        "value_scales", _ARRAY, None, "rows", scores=False, gradient="refused", cached="never",
        traced=True,
    ),
    Option("scale", _ARRAY, None, "heads", conversions.per_head, cached="always"),
    Option(
        "query_scale", _ARRAY, None, "rows", conversions.floats, gradient="numbers",
        cached="always", traced=True,
    ),
    Option("softcap", _ARRAY, None, "heads", conversions.per_head, cached="always"),
    Option(
        "alibi_slopes", _ARRAY, None, "heads", conversions.floats, gradient="numbers",
        cached="always", traced=True,
    ),
    Option(
        "sinks", _ARRAY, None, "heads", conversions.per_head, gradient="numbers", cached="always",
        traced=True,
    ),
    Option(
        "similarity", "Similarity", "dot", "word", conversions.similarity, core=("cosine",),
        cached="always",
    ),
    Option("dropout", "float", 0.0, "number", conversions.dropout, scores=False),
    Option("seed", "int | None", None, "number", conversions.seed, scores=False, traced=True),
    Option("num_threads", "int | None", None, "number", conversions.threads, cached="always"),
    Option("layout", "str | None", None, "frame", cached="always"),
    Option("return_lse", "bool", False, "result", scores=False, cached="always"),
    Option("out", "NDArray[Any] | None", None, "result", scores=False, cached="always"),
)  # fmt: skip

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def names(which: Callable[[Option], object]) -> tuple[str, ...]:
    """Names of the options for which something holds, in the order of the signature."""
    return tuple(option.name for option in OPTIONS if which(option))


#: What becomes an option of the core under its name, or the names it has there.
CORE: tuple[Option, ...] = tuple(o for o in OPTIONS if o.kind not in ("result", "frame"))
#: What callers give as options; the others are arguments of their own.
GIVEN: frozenset[str] = frozenset(names(lambda option: option.kind != "result"))
RESULT: tuple[str, ...] = names(lambda option: option.kind == "result")
