"""Storage types that do not go together: the argument is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from bad_calls import KEY, QUERY, VALUE, check_message
from regard._bfloat16 import MARKER, narrowed

BFLOAT16 = [narrowed(x, MARKER) for x in (QUERY, KEY, VALUE)]
TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "float64 query": ("key", {"query": QUERY.astype(np.float64)}),
    "float64 key": ("key", {"key": KEY.astype(np.float64)}),
    "float64 value": ("value", {"value": VALUE.astype(np.float64)}),
    "float64 key of bfloat16": ("key", {"query": BFLOAT16[0], "key": KEY.astype(np.float64)}),
    "bfloat16 key of float64": ("key", {
        "query": QUERY.astype(np.float64), "key": BFLOAT16[1], "value": VALUE.astype(np.float64)}),
    "complex query": ("query", {"query": QUERY.astype(np.complex64)}),
    "long double value": ("value", {"value": VALUE.astype(np.longdouble)}),
    "record": ("query", {"query": np.zeros(QUERY.shape, [("half", "<u2")])}),
    "record of two": ("key", {"key": np.zeros(KEY.shape, [("bfloat16", "<u2"), ("x", "<u2")])}),
    "uint16 key": ("key", {"key": KEY.astype(np.uint16)}),
    "other byte order": ("query", {"query": QUERY.astype(">f2")}),
    "float64 bias": ("bias", {"bias": np.zeros((12, 10)), "query": BFLOAT16[0]}),
    "int8 bias": ("bias", {"bias": np.zeros((12, 10), np.int8)}),
    "out of float32": ("out", {"query": BFLOAT16[0], "out": np.zeros((2, 8, 12, 6), np.float32)}),
    "out of bfloat16": ("out", {"out": np.zeros((2, 8, 12, 6), MARKER)}),
    "out of uint16": ("out", {"query": BFLOAT16[0], "out": np.zeros((2, 8, 12, 6), np.uint16)}),
}  # fmt: skip


@pytest.mark.parametrize("case", TYPES)
def test_types_that_do_not_go_together(case):
    name, changed = TYPES[case]
    with pytest.raises((TypeError, ValueError)) as error:
        regard.attention(**{"query": QUERY, "key": KEY, "value": VALUE} | changed)
    check_message(error.value, name)


def test_types_that_do():
    for query in (QUERY, BFLOAT16[0], QUERY.astype(np.float16)):
        bias = np.zeros((12, 10), np.float16)
        out = np.zeros((2, 8, 12, 6), query.dtype)
        regard.attention(query, BFLOAT16[1], VALUE.astype(np.float16), bias=bias, out=out)
