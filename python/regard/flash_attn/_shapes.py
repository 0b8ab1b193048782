"""Whether queries, keys and values fit each other, packed into one tensor or not."""

from __future__ import annotations

import torch

_HOLDS = {"kv": 2, "qkv": 3}


def check_shapes(
    function: str, inputs: dict[str, torch.Tensor], front: tuple[str, ...]
) -> tuple[int, int]:
    """Refuse shapes that do not fit.

    Parameters
    ----------
    function : str
        For messages, as the names of the inputs are.
    inputs : dict of str to Tensor
        By the names q, k, v, kv, qkv.
    front : tuple of str
        The axes before the heads, for messages.

    Returns
    -------
    batch, heads : int
        Sizes of the first axis and of the queries' heads.

    Raises
    ------
    ValueError
    """
    for name, x in inputs.items():
        check_rank(function, name, x, front)
    names = list(inputs)
    q, k, v = inputs[names[0]], inputs[names[min(1, len(names) - 1)]], inputs[names[-1]]
    if q is not k:
        check_pair(function, inputs, q, k, v, len(front) - 1)
    if q.shape[-1] == 0:
        raise ValueError(
            f"{function}: {names[0]} has shape {tuple(q.shape)}.\n  head_dim must not be 0."
        )
    return q.shape[0], q.shape[-2]


def check_pair(
    function: str,
    inputs: dict[str, torch.Tensor],
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    shared: int,
) -> None:
    """Refuse keys and values that do not fit each other or the queries.

    Parameters
    ----------
    function : str
    inputs : dict of str to Tensor
        What to show in messages.
    q, k, v : Tensor
    shared : int
        How many axes in front queries have in common with keys.

    Raises
    ------
    ValueError
    """
    rule = ""
    if k.shape[:-1] != v.shape[:-1]:
        rule = "Keys and values must have the same shape, but for head_dim."
    elif q.shape[:shared] != k.shape[:shared]:
        rule = "Queries and keys must be of one batch."
    elif q.shape[-1] != k.shape[-1]:
        rule = "Queries and keys must have the same head_dim."
    elif q.shape[-2] and (k.shape[-2] == 0 or q.shape[-2] % k.shape[-2]):
        rule = "Heads of queries must be a multiple of those of keys and values."
    if rule:
        width = max(map(len, inputs))
        shapes = "".join(f"\n  {name:{width}}  {tuple(x.shape)}" for name, x in inputs.items())
        raise ValueError(f"{function}: {', '.join(inputs)} do not fit.{shapes}\n  {rule}")


def check_rank(function: str, name: str, x: torch.Tensor, front: tuple[str, ...]) -> None:
    """Refuse a tensor that has other axes than those in front, heads and head_dim.

    Raises
    ------
    ValueError
    """
    holds = _HOLDS.get(name)
    axes = [*front, *([str(holds)] if holds else []), "heads", "head_dim"]
    if x.ndim != len(axes) or (holds and x.shape[-3] != holds):
        raise ValueError(
            f"{function}: {name} has shape {tuple(x.shape)}.\n  Give ({', '.join(axes)})."
        )
