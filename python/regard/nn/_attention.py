"""`MultiHeadAttention`: softmax(Q K^T / sqrt(d)) V in each head, between products with weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard._weights import attention_weights
from regard.nn import _call
from regard.nn._arrays import as_derivative
from regard.nn._attention_parameters import AttentionParameters
from regard.nn._cached import append, attend_to_cache
from regard.nn._gradients import BackWithOptions, LayerGradients, named
from regard.nn._linear import Linear
from regard.nn._projections import by_argument

if TYPE_CHECKING:
    from regard.cache import KVCache, PagedKVCache

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class MultiHeadAttention(AttentionParameters):
    """Attention in several heads, between projections [1]_.

    ``out_proj(concat of attention(q_h, k_h, v_h))`` with ``q, k, v`` the rows of ``in_proj_weight``
    times x, or times x and a memory. With fewer heads of keys and values than of queries it is
    grouped-query attention, and ``in_proj_weight`` has fewer rows.

    Parameters
    ----------
    num_heads : int
        Of the queries.
    in_proj_weight : ndarray, shape ((num_heads + 2 * kv_heads) * head_dim, features), or None
        Rows of queries, then of keys, then of values, as in ``torch.nn.MultiheadAttention``.
    in_proj_bias : ndarray or None
        One for each of those rows.
    out_proj : Linear
        From ``num_heads * head_dim`` to features.
    q_proj_weight, k_proj_weight, v_proj_weight : ndarray, optional
        In place of in_proj_weight, where memory and values have other numbers of features.
    dropout : float, default 0
        Share of the attention weights to leave out, in calls with a seed.
    rope : Rope, optional
        Turns queries and keys by their positions.
    position_bias : PositionBias, optional
        Added to the scores; its table is a parameter, ``position_bias.table``.
    sinks : ndarray, shape (num_heads,), optional
        A parameter too: one more logit for each head.
    options : dict, optional
        Options of `regard.attention` for every call, e.g. ``{"alibi_slopes": ...}``; those of a
        call come first.
    batch_invariant : bool, default False
        As in `Linear`, for the input projections.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> rng = np.random.default_rng(0)
    >>> arrays = {"in_proj_weight": rng.standard_normal((24, 8)),
    ...           "out_proj.weight": rng.standard_normal((8, 8))}
    >>> layer = nn.MultiHeadAttention.from_state_dict(arrays, num_heads=2)
    >>> x = rng.standard_normal((3, 5, 8))  # 3 texts of 5 tokens
    >>> layer(x, causal=True).shape
    (3, 5, 8)
    >>> out, back = layer.vjp(x, key_lengths=[5, 4, 2])
    >>> back(out)
    LayerGradients(x=(3, 5, 8), parameters={in_proj_weight: (24, 8), out_proj.weight: (8, 8)})
    """

    @in_the_name_of("MultiHeadAttention")
    def __call__(
        self,
        x: ArrayLike,
        memory: ArrayLike | None = None,
        value: ArrayLike | None = None,
        *,
        offsets: ArrayLike | None = None,
        memory_offsets: ArrayLike | None = None,
        positions: ArrayLike | None = None,
        seed: int | None = None,
        cache: KVCache | PagedKVCache | None = None,
        sequences: int | list[int] | None = None,
        **options: Any,
    ) -> Array:
        """Attend.

        Parameters
        ----------
        x : array_like, shape (batch, tokens, features) or (tokens, features)
            What queries are made of; keys and values too, unless there is a memory.
        memory : array_like, shape (batch, keys, features) or (keys, features), optional
            What keys and values are made of, in cross attention.
        value : array_like, optional
            What values are made of, if that is not the memory.
        offsets : array_like of int, shape (pieces + 1,), optional
            x is packed, as by `pack`: a piece attends to itself.
        memory_offsets : array_like of int, optional
            Likewise of the memory, whose piece n the piece n of x attends to.
        positions : array_like of int, shape (tokens,) or (batch, tokens), optional
            Of the tokens of x, for rope; by default they count from 0, in each piece.
        seed : int, optional
            For dropout, which there is none of without.
        cache : KVCache or PagedKVCache, optional
            Keys and values are appended to it, and all that it holds is attended to; causal is then
            True by default, but with a memory. query_lengths says how many tokens of each batch
            element count.
        sequences : int or list of int, optional
            Of a `PagedKVCache`: which ones x has the tokens of, packed by offsets or one of each.
        **options
            All of `regard.attention`, but layout, return_lse and out. In masks True = attend.

        Returns
        -------
        ndarray, of the shape of x
        """
        given = self._options(options, seed)
        if cache is not None:
            query, key, values = self.project(x, memory, value)
            given.setdefault("causal", memory is None)
            append(cache, key, values, self.rope, memory is None, offsets, sequences, given)
            out = attend_to_cache(cache, query, offsets, sequences, given)
        else:
            heads, cuts, _ = self._rotated(x, memory, value, offsets, memory_offsets, positions)
            out = _call.attend(heads, cuts, given)
        return self.out_proj(out.reshape(*out.shape[:-2], -1))

    @in_the_name_of("MultiHeadAttention")
    def attend(
        self,
        x: ArrayLike,
        cache: KVCache | PagedKVCache,
        *,
        offsets: ArrayLike | None = None,
        sequences: int | list[int] | None = None,
        **options: Any,
    ) -> Array:
        """Attend to what a cache holds, appending nothing: to a memory that is in it already.

        Parameters
        ----------
        x, cache, offsets, sequences, **options
            As in a call; causal is False by default.
        """
        given = {"causal": False, **self._options(options, None)}
        rows = self._checked(x, "x", 0)
        width = self._weights().widths[0]
        weight = self.q_proj_weight if self.in_proj_weight is None else self.in_proj_weight[:width]
        assert weight is not None
        bias = None if self.in_proj_bias is None else self.in_proj_bias[:width]
        query = _call.by_head(Linear(weight, bias, self.batch_invariant)(rows), self.heads.head_dim)
        out = attend_to_cache(cache, query, offsets, sequences, given)
        return self.out_proj(out.reshape(*out.shape[:-2], -1))

    @in_the_name_of("MultiHeadAttention")
    def weights(
        self,
        x: ArrayLike,
        memory: ArrayLike | None = None,
        *,
        positions: ArrayLike | None = None,
        **options: Any,
    ) -> Array:
        """Compute the attention weights, for looking at.

        Parameters
        ----------
        x, memory, positions, **options
            As in a call, without a cache or packed rows.

        Returns
        -------
        ndarray, shape (..., num_heads, tokens, keys)
        """
        given = self._options(options, None)
        (query, key, _), _, _ = self._rotated(x, memory, None, None, None, positions)
        weights: Array = attention_weights(query, key, layout=_call.layout_of(query), **given)
        return weights

    @in_the_name_of("MultiHeadAttention")
    def vjp(
        self,
        x: ArrayLike,
        memory: ArrayLike | None = None,
        value: ArrayLike | None = None,
        *,
        offsets: ArrayLike | None = None,
        memory_offsets: ArrayLike | None = None,
        positions: ArrayLike | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> tuple[Array, BackWithOptions]:
        """Attend without a cache, and return the way back.

        ``back(dout, wrt=())`` gives `LayerGradients`: by x, memory and value (the one that was
        given), by the parameters, and by the options that ``wrt`` names.
        """
        given = self._options(options, seed)
        inputs = self._inputs(x, memory, value)
        heads, cuts, at = self._rotated(x, memory, value, offsets, memory_offsets, positions)
        mixed, pull = _call.attend_vjp(heads, cuts, given)
        columns = mixed.reshape(*mixed.shape[:-2], -1)
        out, back_out = self.out_proj.vjp(columns)
        own = [n for n in ("position_bias", "sinks") if getattr(self, n) is not None]
        own = [n for n in own if n not in options]

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            last = back_out(as_derivative(dout, out.shape, "MultiHeadAttention", out.dtype))
            weights = self._weights()
            whole, parts = weights.buffers(inputs)
            into = dict(
                zip(
                    ("query", "key", "value"),
                    (_call.by_head(c, self.heads.head_dim) for c in parts),
                    strict=True,
                )
            )
            asked = [name for name in wrt if name not in own]
            grads = pull(last.x.reshape(mixed.shape), wrt=[*into, *own, *asked], out=into)
            _call.turn_back(self.rope, into["query"], at[0])
            _call.turn_back(self.rope, into["key"], at[1])
            dinputs, parameters = weights.backward(inputs, whole)
            names = {"position_bias": "position_bias.table", "sinks": "sinks"}
            parameters |= {names[n]: grads[n] for n in own}
            parameters |= named("out_proj.", last.parameters)
            dx, dmemory, dvalue = by_argument(dinputs, memory is not None, value is not None)
            options_ = {name: grads[name] for name in asked}
            ordered = {name: parameters[name] for name in self.state_dict()}
            return LayerGradients(dx, ordered, dmemory, dvalue, options_)

        return out, back

    def _rotated(
        self,
        x: ArrayLike,
        memory: ArrayLike | None,
        value: ArrayLike | None,
        offsets: ArrayLike | None,
        memory_offsets: ArrayLike | None,
        positions: ArrayLike | None,
    ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array] | None, tuple[Array, Array]]:
        """Heads, turned by their positions; offsets of queries and keys; those positions."""
        query, key, values = self.project(x, memory, value)
        cuts = _call.cuts(query, key, offsets, memory_offsets, memory is not None)
        at = (
            _call.places(query, cuts and cuts[0], positions),
            _call.places(key, cuts and cuts[1], positions if memory is None else None),
        )
        turned = _call.turn(self.rope, query, at[0]), _call.turn(self.rope, key, at[1])
        return (*turned, values), cuts, at
