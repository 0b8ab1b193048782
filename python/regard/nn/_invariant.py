"""`batch_invariant`: a layer whose rows do not depend on what else is in the batch."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

from regard.nn._layer import Layer

L = TypeVar("L", bound=Layer)


def batch_invariant(layer: L) -> L:
    """Make a layer that gives a text bitwise the same numbers in any batch.

    Attention already does. NumPy's matrix products do not: BLAS has several kernels, chooses one
    by the number of rows, and they add up in different orders. In the layer returned here all
    products are of 16 rows at a time, the last ones filled up with zeros.

    Parameters
    ----------
    layer : Layer

    Returns
    -------
    Layer
        Of the same kind, with the same arrays, which are not copied.

    Notes
    -----
    A product of 4096 rows takes up to twice as long. For texts one by one, packed in any
    composition, or padded on the right with ``key_lengths``, rows and their derivatives
    (``grads.x``) are bitwise the same, dropout aside, on one machine with one number of BLAS
    threads. Gradients by parameters are sums over all rows, whose order the batch decides.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> encoder = nn.TransformerEncoder.random(0, layers=2, features=64, num_heads=2, hidden=64)
    >>> encoder = nn.batch_invariant(encoder)
    >>> rng = np.random.default_rng(0)
    >>> texts = [rng.standard_normal((n, 64), np.float32) for n in (3, 40, 17)]
    >>> rows, offsets = nn.pack(texts)
    >>> together = nn.unpack(encoder(rows, offsets=offsets), offsets)
    >>> all((encoder(text) == found).all() for text, found in zip(texts, together))
    True
    """
    changes: dict[str, object] = {}
    for field in fields(layer):  # type: ignore[arg-type]
        value = getattr(layer, field.name)
        if field.name == "batch_invariant":
            changes[field.name] = True
        elif isinstance(value, Layer):
            changes[field.name] = batch_invariant(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Layer):
            changes[field.name] = tuple(batch_invariant(item) for item in value)
    return replace(layer, **changes)  # type: ignore[type-var]
