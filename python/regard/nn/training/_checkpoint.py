"""Checkpoints: a tree of arrays and plain values in one safetensors file.

Arrays are tensors of the file, named by the keys that lead to them, joined with "/"; all else is
JSON in its metadata. The parameters can be read by anything that reads safetensors.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regard.nn.training._trees import Array

_METADATA = "regard.checkpoint"
_VERSION = 1


def save_checkpoint(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Write parameters and the state of a training to a file, all of it or nothing.

    Parameters
    ----------
    path : str or path
        By custom ends with ``.safetensors``. A file that is there is replaced in one step, once the
        new one is on the disk: whoever reads, or a computer that is switched off, finds the old one
        or the new one.
    tree : mapping
        Dicts of dicts, with arrays, and whatever JSON has: numbers, strings, True, False, None,
        and lists of these. The state of an optimiser or of `EarlyStopping` is such a dict, and so
        is that of a random generator, ``rng.bit_generator.state``.

    Raises
    ------
    ImportError
        safetensors is not installed.
    TypeError
        The tree has something else in it; the message says where.
    ValueError
        A key has a "/" in it.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import load_checkpoint, save_checkpoint
    >>> save_checkpoint("run.safetensors", {"parameters": {"x": np.ones(3)}, "step": 7})
    ... # doctest: +SKIP
    >>> load_checkpoint("run.safetensors")  # doctest: +SKIP
    {'step': 7, 'parameters': {'x': array([1., 1., 1.])}}
    """
    tensors: dict[str, Array] = {}
    values = _split(tree, (), tensors)
    described = json.dumps({"version": _VERSION, "tree": values})
    data: bytes = _safetensors().save(tensors, metadata={_METADATA: described})
    _replace(Path(path), data)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        The tree, bit for bit; tuples have become lists.

    Raises
    ------
    ImportError
        safetensors is not installed.
    ValueError
        The file is no checkpoint, is damaged, or is of a later version.
    OSError
        There is no such file.
    """
    data = Path(path).read_bytes()
    read = _safetensors().load
    try:
        size = int.from_bytes(data[:8], "little")
        described = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_METADATA])
        version, tree = described["version"], described["tree"]
        if version == _VERSION:
            _join(tree, read(data))
    except Exception as error:
        raise ValueError(
            f"load_checkpoint: {os.fspath(path)!r} is no checkpoint, or is damaged: {error!r}.\n"
            "  Give a file that save_checkpoint wrote."
        ) from error
    if version != _VERSION:
        raise ValueError(
            f"load_checkpoint: {os.fspath(path)!r} is of version {version}, and this release reads "
            f"{_VERSION}.\n  Use the release that wrote it, or a later one."
        )
    return dict(tree)


def _join(tree: dict[str, Any], tensors: dict[str, Array]) -> None:
    """Put arrays back where they were."""
    for name, array in tensors.items():
        *keys, last = name.split("/")
        inner = tree
        for key in keys:
            inner = inner[key]
        inner[last] = array


def _split(
    tree: Mapping[str, Any], keys: tuple[str, ...], into: dict[str, Array]
) -> dict[str, Any]:
    """Put arrays into a flat dict, and return the rest."""
    rest: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(key, str) or "/" in key:
            raise ValueError(
                f"save_checkpoint: the key {key!r} of {'/'.join(keys) or 'the tree'} is no string "
                'without "/"'
            )
        place = (*keys, key)
        if isinstance(value, Mapping):
            rest[key] = _split(value, place, into)
        elif isinstance(value, np.ndarray):
            into["/".join(place)] = np.asarray(value, order="C")
        else:
            rest[key] = _plain(value, "/".join(place))
    return rest


def _plain(value: Any, place: str) -> Any:
    """Refuse what JSON would not give back as it was."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, place) for item in value]
    raise TypeError(
        f"save_checkpoint: {place} is of type {type(value).__name__}.\n  A checkpoint has arrays, "
        "numbers, strings, True, False, None, lists of those but arrays, and dicts."
    )


def _replace(path: Path, data: bytes) -> None:
    """Write a file beside it, and give that its name once it is on the disk."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ImportError as error:
        raise ImportError(
            'checkpoints need safetensors: install it with  pip install "regard[nn]"'
        ) from error
