"""The parameters and settings of `MultiHeadAttention`, and its heads before attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from numpy.typing import ArrayLike, NDArray

from regard.bias import PositionBias
from regard.nn import _call
from regard.nn._arrays import as_input, needed, optional, part
from regard.nn._heads import Heads, infer_heads
from regard.nn._layer import Layer, check_names
from regard.nn._linear import Linear
from regard.nn._projections import Weights
from regard.positions import Rope

Array: TypeAlias = NDArray[Any]
_Attention = TypeVar("_Attention", bound="AttentionParameters")


@dataclass(eq=False, repr=False)
class AttentionParameters(Layer):
    """What `MultiHeadAttention` is made of, as its docstring has it, and the products before it."""

    num_heads: int
    in_proj_weight: Array | None
    in_proj_bias: Array | None
    out_proj: Linear
    q_proj_weight: Array | None = None
    k_proj_weight: Array | None = None
    v_proj_weight: Array | None = None
    dropout: float = 0.0
    rope: Rope | None = None
    position_bias: PositionBias | None = None
    sinks: Array | None = None
    options: dict[str, Any] = field(default_factory=dict)
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        self.heads  # noqa: B018  # finds sizes that do not fit

    @classmethod
    def from_state_dict(
        cls: type[_Attention],
        arrays: Mapping[str, ArrayLike],
        *,
        num_heads: int,
        dropout: float = 0.0,
        rope: Rope | None = None,
        position_bias: PositionBias | None = None,
        options: dict[str, Any] | None = None,
    ) -> _Attention:
        """Make the layer of ``torch.nn.MultiheadAttention``'s state dict.

        Parameters
        ----------
        arrays : mapping of str to array_like
            in_proj_weight (or q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias,
            out_proj.weight, out_proj.bias; also ``sinks`` and ``position_bias.table``.
        num_heads : int
            Of the queries; those of keys and values are inferred.
        dropout, rope, position_bias, options
            As for the layer.

        Raises
        ------
        ValueError
            A name is missing or unknown, or sizes do not fit.
        """
        given = dict(arrays)
        table = given.get("position_bias.table")
        if position_bias is not None:
            if table is not None:
                position_bias = position_bias.with_table(table)
            given["position_bias.table"] = position_bias.table
        together = optional(given, "in_proj_weight")
        apart: dict[str, Any] = {
            name: needed(given, name, cls.__name__) if together is None else None
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        }
        layer = cls(
            num_heads, together, optional(given, "in_proj_bias"),
            Linear.from_state_dict(part(given, "out_proj.")), **apart, dropout=dropout, rope=rope,
            position_bias=position_bias, sinks=optional(given, "sinks"),
            options=dict(options or {}),
        )  # fmt: skip
        check_names(cls.__name__, layer.state_dict(), given)
        return layer

    @property
    def heads(self) -> Heads:
        """Numbers of heads, and head_dim, as the shapes of the weights have them."""
        weights = self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        return infer_heads(self.num_heads, self.out_proj.weight, weights)

    def project(
        self, x: ArrayLike, memory: ArrayLike | None = None, value: ArrayLike | None = None
    ) -> tuple[Array, Array, Array]:
        """Compute queries, keys and values of all heads, before any rotation.

        Parameters
        ----------
        x, memory, value : array_like
            As in a call.

        Returns
        -------
        query, key, value : ndarray, shape (..., tokens, heads, head_dim)
            Views of one array, where they come from one input.
        """
        columns = self._weights().forward(self._inputs(x, memory, value))
        query, key, values = (_call.by_head(c, self.heads.head_dim) for c in columns)
        return query, key, values

    def _options(self, options: dict[str, Any], seed: int | None) -> dict[str, Any]:
        _call.check_options(options)
        own: dict[str, Any] = dict(self.options)
        if self.position_bias is not None:
            own["position_bias"] = self.position_bias
        if self.sinks is not None:
            own["sinks"] = self.sinks
        if self.dropout and seed is not None:
            own["dropout"] = self.dropout
        if seed is not None and (own.get("dropout") or options.get("dropout")):
            own["seed"] = seed
        return {**own, **options}

    def _weights(self) -> Weights:
        apart = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        return Weights(
            self.in_proj_weight, apart, self.in_proj_bias, self.heads.widths, self.batch_invariant
        )

    def _inputs(
        self, x: ArrayLike, memory: ArrayLike | None, value: ArrayLike | None
    ) -> tuple[Array, Array, Array]:
        rows = self._checked(x, "x", 0)
        keys = rows if memory is None else self._checked(memory, "memory", 1)
        values = keys if value is None else self._checked(value, "value", 2)
        return rows, keys, values

    def _checked(self, x: ArrayLike, name: str, which: int) -> Array:
        weight = self.in_proj_weight
        if weight is None:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        assert weight is not None
        array = as_input(x, name, "MultiHeadAttention", weight.shape[1], weight.dtype)
        if array.ndim not in (2, 3):
            raise ValueError(
                f"MultiHeadAttention: {name} has shape {array.shape}.\n  Give (batch, tokens, "
                "features), or (tokens, features) of one text or of packed rows."
            )
        return array
