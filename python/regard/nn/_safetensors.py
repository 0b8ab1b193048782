"""State dicts in files: those of the safetensors library."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def _library() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ImportError as error:
        raise ImportError(
            'files of weights need safetensors: install it with  pip install "regard[nn]"'
        ) from error


def save_safetensors(arrays: Mapping[str, Array], path: str | os.PathLike[str]) -> None:
    """Write a state dict to a file.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        E.g. ``layer.state_dict()``.
    path : str or path

    Raises
    ------
    ImportError
        safetensors is not installed.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> layer = nn.Linear(np.eye(3))
    >>> nn.save_safetensors(layer.state_dict(), "layer.safetensors")  # doctest: +SKIP
    >>> nn.Linear.from_state_dict(nn.load_safetensors("layer.safetensors"))  # doctest: +SKIP
    Linear(weight=(3, 3))
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    _library().save_file(contiguous, os.fspath(path))


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read a state dict from a file.

    Parameters
    ----------
    path : str or path
        Also of a model that was saved elsewhere.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ImportError
        safetensors is not installed.
    OSError
        The file cannot be read.
    """
    arrays: dict[str, Array] = _library().load_file(os.fspath(path))
    return arrays
