"""What all layers are: dataclasses of arrays and of other layers, and the names of the arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard.bias import PositionBias
from regard.nn._arrays import as_parameter

Array: TypeAlias = NDArray[Any]


class Layer:
    """A dataclass whose fields are arrays, other layers, and settings.

    Arrays have the names of PyTorch's ``state_dict``: that of their field, behind those of the
    layers they are in.
    """

    def state_dict(self) -> dict[str, Array]:
        """Name the parameters.

        Returns
        -------
        dict of str to ndarray
            The arrays themselves, no copies, in the order of the fields.

        Examples
        --------
        >>> import numpy as np
        >>> from regard import nn
        >>> norm = nn.LayerNorm(np.ones(4), np.zeros(4))
        >>> {name: array.shape for name, array in norm.state_dict().items()}
        {'weight': (4,), 'bias': (4,)}
        """
        return {place.name: place.array for place in _places(self)}

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take other numbers for all parameters.

        Parameters
        ----------
        arrays : mapping of str to array_like
            The names of `state_dict`, and the same shapes. Arrays of the dtype that a parameter
            has are kept as they are, not copied; others are cast to it.

        Raises
        ------
        ValueError
            A name is missing or unknown, or a shape differs. Nothing has changed.
        """
        places = {place.name: place for place in _places(self)}
        check_names(type(self).__name__, places, arrays)
        new = {}
        for name, place in places.items():
            array = as_parameter(arrays[name], name)
            if array.shape != place.array.shape:
                raise ValueError(
                    f"{type(self).__name__}: {name} has shape {array.shape}; the layer has "
                    f"{place.array.shape}.\n  Give an array of that shape, or make another layer "
                    "by from_state_dict."
                )
            new[name] = array.astype(place.array.dtype, copy=False)
        for name, place in places.items():
            place.put(new[name])

    def __repr__(self) -> str:
        """Shapes for arrays, and settings that are not what they are by default."""
        shown = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                shown.append(f"{field.name}={value.shape}")
            elif isinstance(value, tuple) and value and isinstance(value[0], Layer):
                shown.append(f"{field.name}={len(value)} x {value[0]!r}")
            elif value is not None and value != field.default and value != {}:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass
class _Place:
    """Where a parameter is kept."""

    name: str
    holder: Any
    field: str

    @property
    def array(self) -> Array:
        value = getattr(self.holder, self.field)
        array: Array = value.table if isinstance(value, PositionBias) else value
        return array

    def put(self, array: Array) -> None:
        """Keep another array there."""
        value = getattr(self.holder, self.field)
        new = value.with_table(array) if isinstance(value, PositionBias) else array
        setattr(self.holder, self.field, new)


def _places(layer: Any, prefix: str = "") -> Iterator[_Place]:
    for field in fields(layer):
        value, name = getattr(layer, field.name), prefix + field.name
        if isinstance(value, np.ndarray):
            yield _Place(name, layer, field.name)
        elif isinstance(value, PositionBias):
            yield _Place(f"{name}.table", layer, field.name)
        elif isinstance(value, Layer):
            # Where PyTorch has the arrays of two layers of ours in one, there is no name of it.
            yield from _places(value, prefix if field.metadata.get("inline") else f"{name}.")
        elif isinstance(value, tuple):
            for number, item in enumerate(value):
                if is_dataclass(item):
                    yield from _places(item, f"{name}.{number}.")


def check_names(layer: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a state dict with other names than a layer has.

    Raises
    ------
    ValueError
        A name is missing or unknown.
    """
    missing = [name for name in own if name not in given]
    unknown = [name for name in given if name not in own]
    for what, names in (("has no", missing), ("has an unknown", unknown)):
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"{layer}: the state dict {what} {names[0]}{others}.\n  Parameters are named as "
                f"in torch's state_dict; here they are {', '.join(list(own)[:4])}, ..."
            )
