"""Rotary embeddings by tables of cosines and sines, as a cache of keys is given them.

Rows of the tables are positions. With c and s of a position, each pair (x, y) of features becomes

    x' = c x - s y
    y' = c y + s x
"""

from __future__ import annotations

import torch

from regard.flash_attn._tensors import check_tensor


def check_tables(
    function: str,
    q: torch.Tensor,
    cos: torch.Tensor | None,
    sin: torch.Tensor | None,
    end: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Refuse tables that do not fit the queries, or are too short for positions up to `end`.

    Raises
    ------
    TypeError, ValueError
    """
    if cos is None or sin is None:
        there, missing = (
            ("rotary_sin", "rotary_cos") if cos is None else ("rotary_cos", "rotary_sin")
        )
        raise ValueError(f"{function}: {there} without {missing}.\n  Give both, or neither.")
    for name, table in (("rotary_cos", cos), ("rotary_sin", sin)):
        check_tensor(function, name, table)
        if table.dtype != q.dtype:
            raise TypeError(
                f"{function}: {name} has dtype {table.dtype}, q has {q.dtype}.\n  Convert it with "
                f"{name}.to(q.dtype)."
            )
        if table.ndim != 2 or table.shape != cos.shape or 2 * table.shape[1] > q.shape[-1]:
            raise ValueError(
                f"{function}: {name} has shape {tuple(table.shape)}.\n  q  {tuple(q.shape)}\n  "
                "Give (seqlen_ro, rotary_dim / 2) for both tables, rotary_dim at most head_dim."
            )
        if table.shape[0] < end:
            raise ValueError(
                f"{function}: {name} has shape {tuple(table.shape)}, and positions go up to "
                f"{end - 1}.\n  Give it a row for each of them."
            )
    return cos, sin


def rotated(
    x: torch.Tensor,
    positions: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    interleaved: bool,
) -> torch.Tensor:
    """Turn pairs of features by the rows of the tables that are their positions'.

    Parameters
    ----------
    x : Tensor, shape (batch, seqlen, heads, head_dim)
    positions : Tensor of int64, shape (batch, seqlen)
    cos, sin : Tensor, shape (seqlen_ro, rotary_dim / 2)
    interleaved : bool
        Whether features 2 n and 2 n + 1 are a pair, or n and n + rotary_dim / 2.

    Returns
    -------
    Tensor
        Like x, computed in float32 at least and rounded once.
    """
    half = cos.shape[1]
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    c, s = (table[positions].to(wide)[:, :, None] for table in (cos, sin))
    turning, rest = x[..., : 2 * half].to(wide), x[..., 2 * half :]
    pairs = (half, 2) if interleaved else (2, half)
    first, second = turning.unflatten(-1, pairs).unbind(-1 if interleaved else -2)
    turned = torch.stack(
        (c * first - s * second, c * second + s * first), -1 if interleaved else -2
    )
    return torch.cat((turned.flatten(-2).to(x.dtype), rest), -1)
