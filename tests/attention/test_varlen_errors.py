"""What `varlen_attention` refuses: the argument is named, and nothing is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from bad_calls import ARRAYS, CUTS, KEY, QUERY, VALUE, check_message, ones

Q, K = CUTS
VARLEN_CASES: dict[str, tuple[str, type[Exception], dict[str, Any]]] = {
    "not from 0": (Q, ValueError, {Q: [1, 5, 12]}),
    "not to the end": (Q, ValueError, {Q: [0, 5, 11]}),
    "beyond the end": (K, ValueError, {K: [0, 9, 11]}),
    "falling": (K, ValueError, {K: [0, 12, 10]}),
    "negative": (Q, ValueError, {Q: [0, -5, 12]}),
    "another number of pieces": ("cu_seqlens_[qk]", ValueError, {K: [0, 3, 9, 10]}),
    "no cuts": (Q, ValueError, {Q: np.array([], int)}),
    "two axes": (K, ValueError, {K: [[0, 9, 10]]}),
    "a number": (K, ValueError, {K: 10}),
    "floats": (Q, TypeError, {Q: [0.0, 5.0, 12.0]}),
    "bools": (Q, TypeError, {Q: [False, True, True]}),
    "strings": (K, TypeError, {K: ["0", "9", "10"]}),
    "key_lengths of a piece": ("key_lengths", ValueError, {"key_lengths": [9, 2]}),
    "query_lengths of a piece": ("query_lengths", ValueError, {"query_lengths": [6, 5]}),
    "key_lengths of 3 pieces": ("key_lengths", ValueError, {"key_lengths": [9, 1, 1]}),
    "slopes of 3 pieces": ("alibi_slopes", ValueError, {"alibi_slopes": np.ones((3, 8))}),
    "mask of 3 pieces": ("mask", ValueError, {"mask": ones(3, 8, 7, 9)}),
    "mask of all rows": ("mask", ValueError, {"mask": ones(12, 10)}),
    "bias of all rows": ("bias", ValueError, {"bias": ones(12, 10, dtype=np.float32)}),
    "query of four axes": ("query", ValueError, {"query": QUERY}),
    "value of two axes": ("value", ValueError, {"value": ARRAYS[2][:, 0]}),
    "no seed": ("seed", ValueError, {"dropout": 0.5}),
    "no keys": (K, ValueError, {K: None}),
    "unknown": ("softcaps", TypeError, {"softcaps": 1.0}),
    "int8 without scales": ("key", TypeError, {"key": ARRAYS[1].astype(np.int8)}),
    "scales of floats": ("key_scales", TypeError, {"key_scales": ones(10, 4, dtype=np.float32)}),
    "scales by head": ("key_scales", ValueError, {
        "key": ARRAYS[1].astype(np.int8), "key_scales": ones(4, 10, dtype=np.float32)}),
    "table and cuts": ("cu_seqlens_k", ValueError, {
        "key": KEY.swapaxes(1, 2), "value": VALUE.swapaxes(1, 2), "block_table": [[0], [1]],
        "key_lengths": [3, 4]}),
}  # fmt: skip


@pytest.mark.parametrize("case", VARLEN_CASES)
def test_varlen_refuses(case):
    name, exception, options = VARLEN_CASES[case]
    canary = np.full((12, 8, 6), 123.5, dtype=np.float32)
    arguments = dict(zip(("query", "key", "value"), ARRAYS, strict=True)) | CUTS | options
    with pytest.raises(exception) as error:
        regard.varlen_attention(**arguments, out=canary)
    check_message(error.value, name)
    assert (canary == 123.5).all()


def test_the_good_packed_call_is_good():
    options = {"mask": ones(2, 8, 7, 9), "key_lengths": [9, 1], "query_lengths": [5, 7]}
    assert np.isfinite(regard.varlen_attention(*ARRAYS, **CUTS, **options)).all()
