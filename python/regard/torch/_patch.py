"""``patch`` and ``unpatch``: regard inside of the attention modules of PyTorch.

A patched module gets a class of its own in front of the one it has; its parameters, hooks and state
stay untouched, and so `unpatch` only has to take that class away.
"""

from __future__ import annotations

from functools import cache
from types import TracebackType
from typing import Any

import torch

from regard.torch._multihead import MultiheadAttention


class _Layer:
    """Above ``TransformerEncoderLayer``, whose fast path in evaluation goes past its modules."""

    @property
    def activation_relu_or_gelu(self) -> int:
        """0: an activation that the fast path does not know."""
        return 0


class _Encoder:
    """Above ``TransformerEncoder``, which makes nested tensors of padded batches in evaluation."""

    @property
    def use_nested_tensor(self) -> bool:
        """False: they are for the fast path alone."""
        return False


_ABOVE: dict[Any, Any] = {
    torch.nn.MultiheadAttention: MultiheadAttention,
    torch.nn.TransformerEncoderLayer: _Layer,
    torch.nn.TransformerEncoder: _Encoder,
}


class Patch:
    """What `patch` returns: undoes it at the end of a ``with`` block.

    Attributes
    ----------
    model : torch.nn.Module
    modules : tuple of str
        Names of the modules whose attention is computed by regard now.
    """

    def __init__(self, model: torch.nn.Module, modules: tuple[str, ...]) -> None:
        self.model, self.modules = model, modules

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unpatch(self.model)

    def __repr__(self) -> str:
        return f"Patch({len(self.modules)} modules)"


def patch(model: torch.nn.Module) -> Patch:
    """Compute the attention of PyTorch's own modules with regard.

    Every ``torch.nn.MultiheadAttention`` in the model, also inside of ``TransformerEncoderLayer``,
    ``TransformerDecoderLayer`` and ``Transformer``, keeps its arguments, parameters and results.
    Their masks mean what they did (True hides). The fast path that encoders take in evaluation,
    which goes past those modules, is not taken.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place. Modules that are patched already stay so; subclasses with a forward of
        their own are left alone.

    Returns
    -------
    Patch
        Use it in a ``with`` statement, or call `unpatch`.

    Raises
    ------
    TypeError
        model is not a module.
    ValueError
        There is no such module in it.

    Notes
    -----
    Weights are computed only if they are asked for (``need_weights``, which is PyTorch's default),
    and have gradients; under dropout the output is then computed from them, as they are returned
    with what was dropped. Dropout draws other weights than PyTorch would, by a seed from its
    generator. A query that sees no key gives 0 before the last projection, where PyTorch may give
    NaN. A patched module can be neither pickled nor scripted; its ``state_dict`` is as before.

    Examples
    --------
    >>> import torch
    >>> import regard.torch
    >>> layer = torch.nn.TransformerEncoderLayer(64, 4, batch_first=True)
    >>> model = torch.nn.TransformerEncoder(layer, num_layers=2).eval()
    >>> x = torch.randn(2, 10, 64)
    >>> with regard.torch.patch(model) as patched:
    ...     ours = model(x)
    >>> patched.modules
    ('layers.0.self_attn', 'layers.1.self_attn')
    >>> torch.allclose(ours, model(x), atol=1e-5)
    True
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"patch: model is a {type(model).__name__}.\n  Give a torch.nn.Module.")
    names = []
    for name, module in model.named_modules():
        for stock, above in _ABOVE.items():
            kind: Any = type(module)
            own = issubclass(kind, stock) and kind.forward is stock.forward
            if own and not issubclass(kind, above):
                module.__class__ = _in_front(above, kind)
        if isinstance(module, MultiheadAttention):
            names.append(name)
    if not names:
        raise ValueError(
            "patch: there is no torch.nn.MultiheadAttention in the model.\n  Call "
            "regard.torch.attention or scaled_dot_product_attention where it computes attention."
        )
    return Patch(model, tuple(names))


def unpatch(model: torch.nn.Module) -> None:
    """Give modules back the class that they had before `patch`.

    Parameters
    ----------
    model : torch.nn.Module
        Patched or not, in whole or in part.

    Examples
    --------
    >>> import torch
    >>> import regard.torch
    >>> model = torch.nn.MultiheadAttention(64, 4)
    >>> patched = regard.torch.patch(model)
    >>> regard.torch.unpatch(model)
    >>> type(model)
    <class 'torch.nn.modules.activation.MultiheadAttention'>
    """
    for module in model.modules():
        if isinstance(module, tuple(_ABOVE.values())):
            module.__class__ = type(module).__mro__[2]


@cache
def _in_front(above: Any, stock: Any) -> Any:
    """Class of patched modules: [itself, what is above, the class they had]."""
    return type(stock.__name__, (above, stock), {"__module__": __name__})
