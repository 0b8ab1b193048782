"""`FeedForward`: two products with an activation between, plain or gated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard.nn._activations import Activation, activation_of, relu
from regard.nn._arrays import part
from regard.nn._dropout import Dropout
from regard.nn._gradients import Back, LayerGradients, named
from regard.nn._layer import Layer, check_names
from regard.nn._linear import Linear

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class FeedForward(Layer):
    """Two products with an activation f between: ``linear2(f(linear1(x)))`` [1]_.

    With a gate it is ``linear2(f(gate(x)) * linear1(x))`` [2]_: SwiGLU with f = silu, GEGLU with
    gelu. In the names of Llama, linear1 is up_proj, gate gate_proj and linear2 down_proj.

    Parameters
    ----------
    linear1 : Linear
        From features to hidden.
    linear2 : Linear
        And back.
    gate : Linear, optional
        Of the shapes of linear1.
    activation : Activation, default ``regard.nn.relu``
    dropout : float, default 0
        Share of hidden numbers to leave out, in calls with a seed.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017, section 3.3.
    .. [2] Shazeer, N., "GLU Variants Improve Transformer", 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> one = nn.Linear(np.ones((3, 2)))
    >>> layer = nn.FeedForward(one, nn.Linear(np.ones((2, 3))), activation=nn.relu)
    >>> layer(np.array([[1.0, 2.0], [-1.0, -2.0]]))
    array([[9., 9.],
           [0., 0.]])
    """

    linear1: Linear
    linear2: Linear
    gate: Linear | None = None
    activation: Activation = relu
    dropout: float = 0.0

    @classmethod
    def from_state_dict(
        cls,
        arrays: Mapping[str, ArrayLike],
        *,
        activation: str | Activation = "relu",
        dropout: float = 0.0,
    ) -> FeedForward:
        """Make the layer of a state dict: linear1, linear2, and gate if it is there.

        Parameters
        ----------
        arrays : mapping of str to array_like
            ``linear1.weight``, ``linear1.bias`` ...
        activation : str or Activation, default "relu"
        dropout : float, default 0
        """
        gate = part(arrays, "gate.")
        layer = cls(
            Linear.from_state_dict(part(arrays, "linear1.")),
            Linear.from_state_dict(part(arrays, "linear2.")),
            Linear.from_state_dict(gate) if gate else None,
            activation_of(activation),
            dropout,
        )
        check_names("FeedForward", layer.state_dict(), arrays)
        return layer

    def __call__(self, x: ArrayLike, *, seed: int | None = None) -> Array:
        """Compute it for x (..., features)."""
        if self.gate is None:
            hidden = self.activation.in_place(self.linear1(x))
        else:
            hidden = self.activation.in_place(self.gate(x))
            hidden *= self.linear1(x)
        return self.linear2(Dropout(self.dropout)(hidden, seed=seed))

    def vjp(self, x: ArrayLike, *, seed: int | None = None) -> tuple[Array, Back]:
        """Compute it, and return the way back: the steps in reverse."""
        up, back_up = self.linear1.vjp(x)
        if self.gate is None:
            hidden, back_activation = self.activation.vjp(up)
        else:
            gate, back_gate = self.gate.vjp(x)
            factor, back_activation = self.activation.vjp(gate)
            hidden = factor * up
        kept, back_dropout = Dropout(self.dropout).vjp(hidden, seed=seed)
        out, back_down = self.linear2.vjp(kept)

        def back(dout: ArrayLike) -> LayerGradients:
            down = back_down(dout)
            dhidden = back_dropout(down.x).x
            if self.gate is None:
                first = back_up(back_activation(dhidden).x)
                dx, gates = first.x, {}
            else:
                first = back_up(dhidden * factor)
                second = back_gate(back_activation(dhidden * up).x)
                dx, gates = first.x + second.x, named("gate.", second.parameters)
            parameters = named("linear1.", first.parameters) | named("linear2.", down.parameters)
            return LayerGradients(dx, parameters | gates)

        return out, back
