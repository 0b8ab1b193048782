r"""AdamW: steps of about the learning rate, along a mean of gradients, with decoupled decay.

With gradient g, mean m, mean of squares v, both 0 before step t = 1, rate r and decay w:

    m = b1 m + (1 - b1) g;      v = b2 v + (1 - b2) g²
    x = (1 - r w) x - r (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.nn.training._decay import Decays, check_decay, everything
from regard.nn.training._trees import Array, Tree, check_parameters, check_same_shapes


@dataclass(frozen=True)
class AdamW:
    """AdamW [1]_, as in `torch.optim.AdamW`.

    Takes and returns plain dicts of arrays and changes none of them.

    Parameters
    ----------
    betas : tuple of float, default (0.9, 0.999)
        What the means of gradients and of their squares keep of themselves in a step, each
        0 <= beta < 1.
    eps : float, default 1e-8
        Added to the root of the mean of squares.
    weight_decay : float, default 0.01
        How much of a parameter goes in a step, times the learning rate; the gradient has no part
        in it.
    decays : callable, default `everything`
        ``decays(name, array)`` says whether a parameter decays. `matrices` spares biases and norms.

    Raises
    ------
    ValueError
        A number is out of its range.

    References
    ----------
    .. [1] Loshchilov, I. and Hutter, F., "Decoupled Weight Decay Regularization", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import AdamW
    >>> optimizer, parameters = AdamW(weight_decay=0.0), {"x": np.array([4.0])}
    >>> state = optimizer.init(parameters)
    >>> for _ in range(100):
    ...     gradients = {"x": 2 * parameters["x"]}  # of x²
    ...     parameters, state = optimizer.update(parameters, gradients, state, 0.1)
    >>> bool(abs(parameters["x"][0]) < 0.1), state["step"]
    (True, 100)
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    decays: Decays = everything

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"AdamW: betas have to be two of 0 to below 1, not {self.betas}")
        if not self.eps >= 0:
            raise ValueError(f"AdamW: eps has to be at least 0, not {self.eps}")
        check_decay("AdamW", self.weight_decay)

    def init(self, parameters: Tree) -> dict[str, Any]:
        """State before the first step.

        Parameters
        ----------
        parameters : mapping of str to ndarray
            Of float32 or float64.

        Returns
        -------
        dict
            ``step``, the steps taken; ``mean`` and ``square``, the means of gradients and of their
            squares, by the names of the parameters.

        Raises
        ------
        TypeError
            A parameter is of another type.
        """
        check_parameters("AdamW.init", parameters)
        mean, square = ({name: np.zeros_like(x) for name, x in parameters.items()} for _ in "mv")
        return {"step": 0, "mean": mean, "square": square}

    def update(
        self, parameters: Tree, gradients: Tree, state: dict[str, Any], learning_rate: float
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Take a step.

        Parameters
        ----------
        parameters, gradients : mapping of str to ndarray
            With the same names and shapes.
        state : dict
            What `init` or the last `update` returned.
        learning_rate : float

        Returns
        -------
        parameters : dict of str to ndarray
        state : dict

        Raises
        ------
        TypeError, ValueError
            A parameter is no float32 or float64, or names and shapes do not match.
        """
        check_parameters("AdamW.update", parameters)
        check_same_shapes("AdamW.update", parameters, gradients, "gradients")
        check_same_shapes("AdamW.update", parameters, state["mean"], "state")
        step = state["step"] + 1
        first, second = self.betas
        scale = learning_rate / (1 - first**step)
        unbias_square = math.sqrt(1 - second**step)
        moved, means, squares = {}, {}, {}
        for name, x in parameters.items():
            gradient = gradients[name]
            mean, square, work = (np.empty_like(x) for _ in range(3))
            np.multiply(state["mean"][name], first, out=mean)
            np.multiply(gradient, 1 - first, out=work)
            mean += work
            np.multiply(state["square"][name], second, out=square)
            np.multiply(gradient, gradient, out=work)
            work *= 1 - second
            square += work
            # work = -scale * mean / (sqrt(square) / unbias_square + eps)
            np.sqrt(square, out=work)
            work /= unbias_square
            work += self.eps
            np.divide(mean, work, out=work)
            work *= -scale
            if self.weight_decay and self.decays(name, x):
                work += x * (1 - learning_rate * self.weight_decay)
            else:
                work += x
            moved[name], means[name], squares[name] = work, mean, square
        return moved, {"step": step, "mean": means, "square": squares}
