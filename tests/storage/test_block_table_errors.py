"""What calls with pages refuse, and what `explain` says of one that is good."""

from __future__ import annotations

import re

import numpy as np
import pytest

import regard
from storage_types import FLOATS

PAGES = np.zeros((5, 16, 2, 8), np.float32)
QUERY = np.zeros((2, 4, 1, 8), np.float32)
GOOD = {"block_table": np.array([[0, 1], [2, -1]]), "key_lengths": np.array([32, 10])}


def without(name):
    return {n: x for n, x in GOOD.items() if n != name}


CASES = {
    "no lengths": ("key_lengths", without("key_lengths"), {}),
    "floats": ("block_table", GOOD | {"block_table": [[0.0, 1.0], [2.0, 3.0]]}, {}),
    "bools": ("block_table", GOOD | {"block_table": np.ones((2, 2), bool)}, {}),
    "no axis": ("block_table", GOOD | {"block_table": 0}, {}),
    "another batch": ("(block_table|batch)", GOOD | {"block_table": [[0, 1]] * 3}, {}),
    "page 5 of 5": ("block_table", GOOD | {"block_table": [[0, 5], [2, -1]]}, {}),
    "page 2**31": ("block_table", GOOD | {"block_table": [[0, 2**31], [2, -1]]}, {}),
    "page 2**63": ("block_table", GOOD | {
        "block_table": np.array([[0, 2**63], [2, 3]], np.uint64)}, {}),
    "page -2": ("block_table", GOOD | {"block_table": [[0, -2], [2, -1]]}, {}),
    "no page for a key": ("block_table", GOOD | {"block_table": [[0, -1], [2, -1]]}, {}),
    "too few blocks": ("(key_lengths|block_table)", GOOD | {"key_lengths": [33, 10]}, {}),
    "negative length": ("key_lengths", GOOD | {"key_lengths": [32, -1]}, {}),
    "lengths of three": ("key_lengths", GOOD | {"key_lengths": [1, 2, 3]}, {}),
    "key of three axes": ("key", GOOD, {"key": PAGES[0]}),
    "value of three axes": ("value", GOOD, {"value": PAGES[0]}),
    "value of fewer pages": ("value", GOOD, {"value": PAGES[:4]}),
    "value of other pages": ("value", GOOD, {"value": PAGES[:, :15]}),
    "value of other heads": ("value", GOOD, {"value": PAGES[:, :, :1]}),
    "heads": ("(query|key)", GOOD, {"query": QUERY[:, :3]}),
    "head_dim": ("(query|key)", GOOD, {"query": QUERY[..., :7]}),
    "mask of the keys": ("mask", GOOD | {"mask": np.ones((1, 31), bool)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_misuse(case):
    name, options, changed = CASES[case]
    arrays = {"query": QUERY, "key": PAGES, "value": PAGES} | changed
    canary = np.full(arrays["query"].shape, 123.5, np.float32)
    for more in ({}, {"out": canary}):
        with pytest.raises((ValueError, TypeError)) as error:
            regard.attention(**arrays, **options, **more)
        first, *others = str(error.value).split("\n")
        assert re.match(rf"attention: .*\b{name}\b", first), str(error.value)
        assert others, str(error.value)
        assert all(line.startswith("  ") for line in others), str(error.value)
    assert (canary == 123.5).all()


def test_no_pages_at_all():
    with pytest.raises(ValueError, match=r"block_table holds 0 .*, but there are no pages"):
        regard.attention(QUERY, PAGES[:0], PAGES[:0], **GOOD)


def test_the_good_call_is_good():
    assert (regard.attention(QUERY, PAGES, PAGES, **GOOD) == 0).all()
    packed = np.zeros((3, 4, 8), np.float32)
    out = regard.varlen_attention(packed, PAGES, PAGES, [0, 2, 3], None, **GOOD)
    assert out.shape == (3, 4, 8)


def test_misuse_of_packed_queries():
    packed = np.zeros((3, 4, 8), np.float32)
    for cuts_q, cuts_k, options, name in (
        ([0, 2, 3], [0, 1, 2], GOOD, "cu_seqlens_k"),
        ([0, 2, 3], None, {}, "cu_seqlens_k"),
        ([0, 3], None, GOOD, "(block_table|cu_seqlens_q|key_lengths)"),
        ([0, 1, 2, 3], None, GOOD, "(block_table|cu_seqlens_q|key_lengths)"),
        ([0, 2, 3], None, without("key_lengths"), "key_lengths"),
    ):
        pages = PAGES if "block_table" in options else PAGES[0]
        with pytest.raises((ValueError, TypeError), match=rf"attention: .*\b{name}\b"):
            regard.varlen_attention(packed, pages, pages, cuts_q, cuts_k, **options)


@pytest.mark.parametrize("name", FLOATS)
def test_explain_knows_pages(name):
    """Without reading them: the plan is that of the call."""
    dtype = FLOATS[name]
    pages, query = np.zeros(PAGES.shape, dtype), np.zeros(QUERY.shape, dtype)
    plan = regard.explain(query, pages, pages, **GOOD)
    assert plan.keys == 32
    assert plan.batch == 2
