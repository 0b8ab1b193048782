"""`LayerGradients`: what the way back through a layer gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(repr=False)
class LayerGradients:
    """Derivatives of a loss by what went into a layer.

    Attributes
    ----------
    x : ndarray
        By the input, of its shape; None for an `Embedding`, whose input are numbers of tokens.
    parameters : dict of str to ndarray
        By the parameters, with the names and shapes of ``state_dict``.
    memory : ndarray or None
        By the memory of a cross attention or decoder.
    value : ndarray or None
        By the values of an attention that was given them apart from the memory.
    options : dict of str to ndarray
        By options of the call, those asked for in ``wrt``.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> out, back = nn.Linear(np.eye(2)).vjp(np.ones((3, 2)))
    >>> back(np.ones((3, 2)))
    LayerGradients(x=(3, 2), parameters={weight: (2, 2)})
    """

    x: Any
    parameters: dict[str, Array]
    memory: Array | None = None
    value: Array | None = None
    options: dict[str, Array] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = [f"{n}={x.shape}" for n in ("x", "memory", "value")
                 if (x := getattr(self, n)) is not None]  # fmt: skip
        for name in ("parameters", "options"):
            arrays = getattr(self, name)
            if arrays:
                inside = ", ".join(f"{n}: {x.shape}" for n, x in arrays.items())
                shown.append(f"{name}={{{inside}}}")
        return f"LayerGradients({', '.join(shown)})"


#: The way back of layers without attention inside.
Back: TypeAlias = Callable[[ArrayLike], LayerGradients]


class BackWithOptions(Protocol):
    """The way back of layers with attention inside."""

    def __call__(self, dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
        """Pull back the derivative by the output.

        Parameters
        ----------
        dout : array_like
            Of the shape of the output.
        wrt : iterable of str
            Options of the call whose gradients are wanted too, of those that `regard.Vjp` has:
            bias, sinks, position_bias ...
        """


def named(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Put a prefix in front of names."""
    return {prefix + name: array for name, array in arrays.items()}


def add_to(total: dict[str, Array], more: dict[str, Array]) -> None:
    """Add gradients by what several layers share."""
    for name, array in more.items():
        total[name] = total[name] + array if name in total else array
