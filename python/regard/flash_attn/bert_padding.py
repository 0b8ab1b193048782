"""Padded batches into packed pieces and back: ``flash_attn.bert_padding``.

Made of PyTorch's own operations, so gradients go through them, and tensors may be on any device.
"""

from __future__ import annotations

import torch

Unpadded = tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, torch.Tensor]


def index_first_axis(input: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Choose rows.

    Parameters
    ----------
    input : Tensor, shape (rows, ...)
    indices : Tensor of int, shape (n,)

    Returns
    -------
    Tensor, shape (n, ...)

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn.bert_padding import index_first_axis
    >>> index_first_axis(torch.eye(3), torch.tensor([2, 0]))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    return input.index_select(0, indices)


def index_put_first_axis(
    values: torch.Tensor, indices: torch.Tensor, first_axis_dim: int
) -> torch.Tensor:
    """Put rows into a tensor of zeros: the other way round.

    Parameters
    ----------
    values : Tensor, shape (n, ...)
    indices : Tensor of int, shape (n,)
        Where to, each row but once.
    first_axis_dim : int
        How many rows there are to be.

    Returns
    -------
    Tensor, shape (first_axis_dim, ...)

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn.bert_padding import index_put_first_axis
    >>> index_put_first_axis(torch.ones(2, 1), torch.tensor([2, 0]), 3).flatten()
    tensor([1., 0., 1.])
    """
    zeros = values.new_zeros((first_axis_dim, *values.shape[1:]))
    return zeros.index_copy(0, indices.to(torch.int64), values)


def unpad_input(
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor,
    unused_mask: torch.Tensor | None = None,
) -> Unpadded:
    """Leave the padding out of a batch.

    Parameters
    ----------
    hidden_states : Tensor, shape (batch, seqlen, ...)
    attention_mask : Tensor of bool or int, shape (batch, seqlen)
        1 where there is a token.
    unused_mask : Tensor of bool or int, shape (batch, seqlen), optional
        1 where there is room for a token, which is kept but not counted in seqused.

    Returns
    -------
    hidden_states : Tensor, shape (total, ...)
        The tokens of both masks.
    indices : Tensor of int64, shape (total,)
        Where they were, among all (batch * seqlen).
    cu_seqlens : Tensor of int32, shape (batch + 1,)
        Where each piece begins, and the total.
    max_seqlen_in_batch : int
    seqused : Tensor of int32, shape (batch,)
        How many tokens of attention_mask each piece has.

    Raises
    ------
    ValueError
        A mask is not (batch, seqlen).

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn.bert_padding import pad_input, unpad_input
    >>> batch = torch.arange(8.0).reshape(2, 4, 1)
    >>> mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    >>> tokens, indices, cu_seqlens, longest, used = unpad_input(batch, mask)
    >>> tokens.flatten().tolist(), cu_seqlens.tolist(), longest, used.tolist()
    ([0.0, 1.0, 4.0, 5.0, 6.0], [0, 2, 5], 3, [2, 3])
    >>> pad_input(tokens, indices, 2, 4)[..., 0].tolist()
    [[0.0, 1.0, 0.0, 0.0], [4.0, 5.0, 6.0, 0.0]]
    """
    _check_mask("unpad_input", hidden_states, "attention_mask", attention_mask)
    kept = attention_mask != 0
    used = kept.sum(-1, dtype=torch.int32)
    if unused_mask is not None:
        _check_mask("unpad_input", hidden_states, "unused_mask", unused_mask)
        kept = kept | (unused_mask != 0)
    tokens, indices = _tokens(hidden_states, kept)
    return tokens, indices, *_pieces(kept.sum(-1)), used


def unpad_input_for_concatenated_sequences(
    hidden_states: torch.Tensor, attention_mask_in_length: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Leave the padding out of a batch whose rows hold several sequences each.

    Parameters
    ----------
    hidden_states : Tensor, shape (batch, seqlen, ...)
    attention_mask_in_length : Tensor of int, shape (batch, seqlen)
        The lengths of the sequences of each row, one after the other, then zeros.

    Returns
    -------
    hidden_states : Tensor, shape (total, ...)
    indices : Tensor of int64, shape (total,)
    cu_seqlens : Tensor of int32, shape (sequences + 1,)
    max_seqlen_in_batch : int

    Raises
    ------
    ValueError
        The mask is not (batch, seqlen).

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn.bert_padding import unpad_input_for_concatenated_sequences
    >>> lengths = torch.tensor([[2, 1, 0, 0], [3, 0, 0, 0]])
    >>> _, *rest = unpad_input_for_concatenated_sequences(torch.zeros(2, 4, 1), lengths)
    >>> [x.tolist() for x in rest[:2]], rest[2]
    ([[0, 1, 2, 4, 5, 6], [0, 2, 3, 6]], 3)
    """
    function = "unpad_input_for_concatenated_sequences"
    _check_mask(function, hidden_states, "attention_mask_in_length", attention_mask_in_length)
    lengths = attention_mask_in_length
    places = torch.arange(lengths.shape[1], device=lengths.device)
    tokens, indices = _tokens(hidden_states, places < lengths.sum(-1, keepdim=True))
    return tokens, indices, *_pieces(lengths[lengths != 0])


def pad_input(
    hidden_states: torch.Tensor, indices: torch.Tensor, batch: int, seqlen: int
) -> torch.Tensor:
    """Put tokens back to where they were in a batch, with zeros between them.

    Parameters
    ----------
    hidden_states : Tensor, shape (total, ...)
    indices : Tensor of int64, shape (total,)
        As `unpad_input` returned them.
    batch, seqlen : int

    Returns
    -------
    Tensor, shape (batch, seqlen, ...)

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn.bert_padding import pad_input
    >>> pad_input(torch.ones(2, 1), torch.tensor([0, 3]), 2, 2)[..., 0]
    tensor([[1., 0.],
            [0., 1.]])
    """
    padded = index_put_first_axis(hidden_states, indices, batch * seqlen)
    return padded.unflatten(0, (batch, seqlen))


def _check_mask(function: str, hidden: torch.Tensor, name: str, mask: torch.Tensor) -> None:
    if mask.ndim != 2 or mask.shape != hidden.shape[:2]:
        raise ValueError(
            f"{function}: {name} has shape {tuple(mask.shape)}.\n  hidden_states  "
            f"{tuple(hidden.shape)}\n  Give (batch, seqlen)."
        )


def _tokens(hidden: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    indices = kept.flatten().nonzero().flatten()
    return index_first_axis(hidden.flatten(0, 1), indices), indices


def _pieces(lengths: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return where pieces of these lengths begin, with the total, and the longest length."""
    starts = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return starts, int(lengths.max()) if lengths.numel() else 0
