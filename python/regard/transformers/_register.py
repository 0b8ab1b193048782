"""The name under which transformers finds regard."""

from __future__ import annotations

from transformers import AttentionInterface, AttentionMaskInterface

from regard.transformers._call import attention
from regard.transformers._masks import attention_mask


def register(name: str = "regard") -> None:
    """Make ``attn_implementation=name`` mean regard. Importing this package does, for "regard".

    Attention and masks are registered together: with attention alone, transformers would make no
    masks at all. To register again changes nothing.

    Parameters
    ----------
    name : str, default "regard"

    Raises
    ------
    ValueError
        Something else has that name.
    TypeError
        It is no name.

    Examples
    --------
    >>> import transformers
    >>> import regard.transformers
    >>> regard.transformers.register("cpu_attention")
    >>> config = transformers.LlamaConfig(attn_implementation="cpu_attention")
    """
    if not isinstance(name, str):
        raise TypeError(
            f"register: name is a {type(name).__name__}.\n  Give what attn_implementation is to be."
        )
    for interface, function in (
        (AttentionInterface, attention),
        (AttentionMaskInterface, attention_mask),
    ):
        known = interface()
        if name == "eager" or (name in known and known[name] is not function):
            raise ValueError(
                f"register: the name {name!r} is taken by transformers or another package.\n"
                "  Choose another."
            )
        interface.register(name, function)


def is_registered(name: str | None) -> bool:
    """Whether an ``attn_implementation`` is regard."""
    known = AttentionInterface()
    return name in known and known[name] is attention
