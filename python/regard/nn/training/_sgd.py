"""SGD: against the gradient, with L2 decay, momentum and Nesterov's.

With gradient g, velocity u, rate r, momentum k, dampening d and decay w:

    g = g + w x
    u = k u + (1 - d) g          in the first step u = g
    x = x - r u                  Nesterov's: x - r (g + k u)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.nn.training._decay import Decays, check_decay, everything
from regard.nn.training._trees import Array, Tree, check_parameters, check_same_shapes


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum [1]_, as in `torch.optim.SGD`.

    Takes and returns plain dicts of arrays and changes none of them.

    Parameters
    ----------
    momentum : float, default 0.0
        What the velocity keeps of itself in a step, at least 0.
    dampening : float, default 0.0
        What a gradient loses on its way into the velocity.
    nesterov : bool, default False
        Step along the velocity of the next step.
    weight_decay : float, default 0.0
        L2 regularisation: this times the parameter is added to its gradient.
    decays : callable, default `everything`
        ``decays(name, array)`` says whether a parameter decays. `matrices` spares biases and norms.

    Raises
    ------
    ValueError
        A number is out of its range, or nesterov without momentum, or with dampening.

    References
    ----------
    .. [1] Sutskever, I. et al., "On the importance of initialization and momentum in deep
       learning", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import SGD
    >>> optimizer, parameters = SGD(momentum=0.5), {"x": np.array([4.0])}
    >>> state = optimizer.init(parameters)
    >>> parameters, state = optimizer.update(parameters, {"x": np.array([8.0])}, state, 0.25)
    >>> parameters["x"], state["velocity"]["x"]
    (array([2.]), array([8.]))
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decays: Decays = everything

    def __post_init__(self) -> None:
        if not self.momentum >= 0:
            raise ValueError(f"SGD: momentum has to be at least 0, not {self.momentum}")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum and no dampening, not {self.momentum} and "
                f"{self.dampening}"
            )
        check_decay("SGD", self.weight_decay)

    def init(self, parameters: Tree) -> dict[str, Any]:
        """State before the first step.

        Parameters
        ----------
        parameters : mapping of str to ndarray
            Of float32 or float64.

        Returns
        -------
        dict
            ``step``, the steps taken; ``velocity`` by the names of the parameters, which is empty
            before the first step and without momentum.

        Raises
        ------
        TypeError
            A parameter is of another type.
        """
        check_parameters("SGD.init", parameters)
        return {"step": 0, "velocity": {}}

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
        check_parameters("SGD.update", parameters)
        check_same_shapes("SGD.update", parameters, gradients, "gradients")
        if state["velocity"]:
            check_same_shapes("SGD.update", parameters, state["velocity"], "state")
        moved, velocities = {}, {}
        for name, x in parameters.items():
            change = gradients[name].astype(x.dtype)  # a copy
            if self.weight_decay and self.decays(name, x):
                change += self.weight_decay * x
            if self.momentum:
                velocity = change.copy()
                if state["velocity"]:
                    velocity *= 1 - self.dampening
                    velocity += self.momentum * state["velocity"][name]
                velocities[name] = velocity
                change = change + self.momentum * velocity if self.nesterov else velocity
            moved[name] = np.subtract(x, learning_rate * change, out=np.empty_like(x))
        return moved, {"step": state["step"] + 1, "velocity": velocities}
