"""What `attention_weights` and `attention_summary` refuse, by the name of the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from bad_calls import KEY, QUERY, check_message, ones

INSPECT_CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "row beyond": ("attention_weights", "rows", {"rows": [12]}),
    "row before": ("attention_weights", "rows", {"rows": [-13]}),
    "key beyond": ("attention_weights", "keys", {"keys": np.array([0, 10])}),
    "rows of floats": ("attention_weights", "rows", {"rows": [1.0]}),
    "keys of strings": ("attention_weights", "keys", {"keys": ["1"]}),
    "rows of two axes": ("attention_weights", "rows", {"rows": [[1, 2]]}),
    "top_k < 0": ("attention_summary", "top_k", {"top_k": -1}),
    "top_k float": ("attention_summary", "top_k", {"top_k": 8.0}),
    "pooled 0": ("attention_summary", "pooled", {"pooled": (0, 4)}),
    "pooled < 0": ("attention_summary", "pooled", {"pooled": (4, -1)}),
    "pooled of three": ("attention_summary", "pooled", {"pooled": (4, 4, 4)}),
    "pooled float": ("attention_summary", "pooled", {"pooled": (4.0, 4)}),
    "no stage": ("attention_weights", "stage", {"stage": "raw"}),
    "stage None": ("attention_weights", "stage", {"stage": None}),
    "softcap of weights": ("attention_weights", "softcap", {"softcap": -1.0}),
    "value_scales of weights": ("attention_weights", "value_scales", {"value_scales": 1}),
    "key_scales of floats": (
        "attention_weights",
        "key_scales",
        {"key_scales": ones(2, 4, 10, dtype=np.float32)},
    ),
    "no lengths of pages": ("attention_summary", "key_lengths", {"block_table": [[0], [1]]}),
    "sinks of a summary": ("attention_summary", "sinks", {"sinks": np.ones(7)}),
}


@pytest.mark.parametrize("case", INSPECT_CASES)
def test_inspection_refuses(case):
    function, name, options = INSPECT_CASES[case]
    with pytest.raises((ValueError, TypeError, IndexError)) as error:
        getattr(regard, function)(QUERY, KEY, **options)
    check_message(error.value, name)
