"""The options of a call as an operator can take them: a list of tensors, and a text.

Operators take tensors, numbers, strings and lists, and no objects. Spelling options out in the
schemas would describe each of them once more, three times, and a graph that ``torch.export`` has
stored would break with every option that is added. So there is one text: JSON, which says what each
tensor is and holds all that is none. Masks and position biases are taken apart into their arrays.

``encode`` is traced by ``torch.compile``, which is why it does not call the json module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from regard import bias, masks
from regard.torch._compute import Call
from regard.torch._tensors import array_of, tensor_of

#: What objects are made of, by the names of their arguments.
_PARTS: dict[str, tuple[str, ...]] = {
    "BlockMask": ("shape", "indptr", "indices", "partial", "tiles", "block_size"),
    "PackedMask": ("bits", "keys"),
    "Relative": ("table",),
    "T5": ("table", "bidirectional", "max_distance"),
    "Grid": ("table", "height", "width"),
}
_CLASSES: dict[str, Any] = {
    "BlockMask": masks.BlockMask,
    "PackedMask": masks.PackedMask,
    "Relative": bias.Relative,
    "T5": bias.T5,
    "Grid": bias.Grid,
}


def encode(call: Call) -> tuple[str, list[torch.Tensor]]:
    """Write down what a call is, beside its tensors.

    Returns
    -------
    text : str
    arrays : list of Tensor
        The arrays among the options and their objects; they follow the tensors of the call.

    Raises
    ------
    TypeError
        An option is an object that has no such form.
    """
    arrays: list[torch.Tensor] = []
    options = [
        f'"{name}": {_word(x, name, arrays)}' for name, x in call.options.items() if x is not None
    ]
    names = [f'"{name}"' for name in call.names]
    return f'{{"names": [{", ".join(names)}], "options": {{{", ".join(options)}}}}}', arrays


def decode(text: str, tensors: Sequence[torch.Tensor]) -> Call:
    """Read what `encode` wrote; ``tensors`` are all but query, key and value."""
    known = _parsed(text)
    names = tuple(known["names"])
    arrays = tensors[len(names) :]
    return Call(names, {name: _object(x, arrays) for name, x in known["options"].items()})


def names_in(text: str) -> tuple[str, ...]:
    """Say what the tensors after query, key and value are."""
    return tuple(_parsed(text)["names"])


def given(text: str, name: str) -> bool:
    """Whether an option is given, as a tensor or not."""
    known = _parsed(text)
    return name in known["names"] or name in known["options"]


def word_in(text: str, name: str) -> Any:
    """Return the value of an option that is a word or a number, or None."""
    return _parsed(text)["options"].get(name)


@lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _word(x: Any, option: str, arrays: list[torch.Tensor]) -> str:
    if x is None:
        return "null"
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, (int, torch.SymInt)):
        return f"{int(x)}"
    if isinstance(x, (float, torch.SymFloat)):
        return _number(float(x))
    if isinstance(x, str):
        if not x.replace("_", "").isalnum():
            raise ValueError(f"attention: {option} is {x!r}.\n  There is no such option.")
        return f'"{x}"'
    if isinstance(x, (tuple, list)):
        words = [_word(part, option, arrays) for part in x]
        return f"[{', '.join(words)}]"
    if isinstance(x, (np.ndarray, torch.Tensor)):
        arrays.append(_as_tensor(x))
        return f'{{"array": {len(arrays) - 1}}}'
    if isinstance(x, np.generic):
        return _word(x.item(), option, arrays)
    kind = type(x).__name__
    if kind not in _PARTS or type(x) is not _CLASSES[kind]:
        raise TypeError(
            f"attention: {option} is a {kind}, which an operator cannot take.\n  Inside of "
            "torch.compile, torch.export and torch.func give tensors, arrays, numbers, or objects "
            "of regard.masks and regard.bias."
        )
    parts = [f'"{name}": {_word(getattr(x, name), option, arrays)}' for name in _PARTS[kind]]
    return f'{{"class": "{kind}", "parts": {{{", ".join(parts)}}}}}'


def _as_tensor(x: Any) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        return x
    if torch.compiler.is_compiling():  # arrays are tensors there, and have no flags
        return torch.as_tensor(x)
    return tensor_of(x if x.flags.writeable else x.copy())  # else PyTorch warns


def _number(x: float) -> str:
    """As JSON, or rather Python's, writes it."""
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    return "NaN" if math.isnan(x) else f"{x!r}"


def _object(word: Any, arrays: Sequence[torch.Tensor]) -> Any:
    if isinstance(word, list):
        return tuple(_object(part, arrays) for part in word)
    if not isinstance(word, dict):
        return word
    if "array" in word:
        return array_of(arrays[word["array"]])
    parts = {name: _object(x, arrays) for name, x in word["parts"].items()}
    return _CLASSES[word["class"]](**parts)
