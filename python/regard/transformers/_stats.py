"""Which routes masks and calls have taken."""

from __future__ import annotations

import warnings
from collections import Counter

import torch

_counts: Counter[str] = Counter()
_said: set[str] = set()


def count(route: str) -> None:
    """Note that a mask or a call went this way."""
    if not torch.compiler.is_compiling():  # which would compile again for every other count
        _counts[route] += 1


def say_once(message: str) -> None:
    """Warn of something that is slower or other than expected, once a process."""
    if message not in _said:
        _said.add(message)
        # Frames of transformers and of the model lie between here and what the user wrote: the
        # message has to say it all.
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def stats(*, reset: bool = False) -> dict[str, int]:
    """Count which ways masks and calls of attention have taken.

    Parameters
    ----------
    reset : bool, default False
        Start again from zero.

    Returns
    -------
    dict
        How often each route was taken, since the start or the last reset; what torch.compile has
        compiled counts nothing:

        ==============================  ===========================================================
        ``mask: none``                  nothing is hidden
        ``mask: options``               causal, window, lengths, a row of keys: nothing is built
        ``mask: blocks``                chunks, documents, blocks of tokens: a `regard.BlockMask`
        ``mask: dense``                 a mask function that is not known: (batch, 1, Sq, Sk) bools
        ``mask: selected keys``         the model has chosen the keys of each query
        ``mask: made dense``            the model's own code works on the mask
        ``mask: given``                 the model gave a mask of its own to attention, bool or float
        ``call: forward``               without gradients
        ``call: gradient``              with gradients
        ``call: packed``                pieces, by ``cu_seq_lens_q``; with or without gradients
        ``call: sink a query``          a sink for each query
        ``call: weights``               the weights as well, for ``output_attentions=True``
        ``keyword: NAME``               a keyword that is not known, and was not looked at
        ==============================  ===========================================================

    Examples
    --------
    >>> import regard.transformers
    >>> before = regard.transformers.stats(reset=True)
    >>> regard.transformers.stats()
    {}
    """
    found = dict(sorted(_counts.items()))
    if reset:
        _counts.clear()
    return found
