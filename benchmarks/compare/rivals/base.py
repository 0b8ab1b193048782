"""What the benchmark asks of a rival."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs


class Unsupported(Exception):
    """A rival cannot compute a case; the message says why, in a few words."""


@dataclass(frozen=True)
class Prepared:
    """One way in which a rival can compute a case.

    `call` does the work on inputs that already lie in the layout this way likes best: nobody is
    charged for moving arrays. `result` runs it and returns (batch, heads, length, head_dim), or
    gradients of that shape.
    """

    way: str
    call: Callable[[], Any]
    result: Callable[[], Any]


class Rival(ABC):
    """Another library's attention, in one or more ways.

    Parameters
    ----------
    threads : int
        How many threads it shall use. Set before the library is first used: some read it once.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    modules: ClassVar[tuple[str, ...]]
    # The options (regard.bench.options.TITLES) that it is measured with.
    options: ClassVar[tuple[str, ...]] = ()
    gradients: ClassVar[bool] = False

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @classmethod
    def available(cls) -> bool:
        """Whether everything it needs is installed."""
        return all(importlib.util.find_spec(module) is not None for module in cls.modules)

    @classmethod
    def version(cls) -> str:
        """Version of the package that does the work."""
        return importlib.metadata.version(cls.packages[0])

    def prepare(self, case: Case, inputs: Inputs) -> list[tuple[Prepared, Any]]:
        """Try every way of computing a case; return those that work, with their results.

        Raises
        ------
        Unsupported
            When there is none.
        """
        if case.backward and not self.gradients:
            raise Unsupported("has no gradients")
        if case.option and case.option not in self.options:
            raise Unsupported("not measured with this option")
        found, reasons = [], []
        for way, build in self.ways(case, inputs):
            try:
                prepared = build()
                result = prepared.result()
            except Unsupported as reason:
                reasons.append(str(reason))
            except Exception as error:
                # A rival may fail in any way it likes; that is its result, not ours.
                reasons.append(f"{way}: {_first_line(error)}")
            else:
                found.append((prepared, result))
        if not found:
            raise Unsupported("; ".join(dict.fromkeys(reasons)) or "not supported")
        return found

    @abstractmethod
    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """Names and builders of the ways worth trying."""


def additive_mask(case: Case, inputs: Inputs) -> Array | None:
    """Mask, window and bias as one float array to add, for libraries that take nothing else.

    Causal problems without a window are left out: every library has a switch for those.
    """
    allowed = allowed_pairs(case, inputs)
    if allowed is None:
        return inputs.bias
    hidden = np.where(allowed, 0.0, -np.inf).astype(case.dtype)
    return hidden if inputs.bias is None else hidden + inputs.bias


def allowed_pairs(case: Case, inputs: Inputs) -> Array | None:
    """Mask and window as one bool array, True = attend; None when everything is allowed."""
    if case.window is None:
        return inputs.mask
    query = np.arange(case.length)[:, None]
    key = np.arange(case.key_length)[None, :]
    window = (key <= query) & (key > query - case.window)
    return window[None, None] if inputs.mask is None else window & inputs.mask


def repeat_kv_heads(case: Case, array: Array) -> Array:
    """Key or value with one head for each query head."""
    return np.repeat(array, case.heads // case.kv_heads, axis=1)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:100]
