"""No byte outside the arrays is read or written: each array touches a page that may not be."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import multiprocessing
import sys
from collections.abc import Callable

import numpy as np
import pytest

import regard
from pages import paged
from problems import assert_same_bits, make_problem
from storage_types import FLOATS, rounded, stored

FORWARD_BFLOAT16 = True  # see conftest.py

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect")

PAGE = mmap.PAGESIZE
PROT_NONE = 0
SIDES = ("before", "after")


def guarded(array: np.ndarray, side: str) -> np.ndarray:
    """A copy whose first byte follows, or whose last byte precedes, a page without access."""
    pages = -(-array.nbytes // PAGE)
    # Never unmapped: the arrays of a child process live as long as it does.
    store = mmap.mmap(-1, (pages + 2) * PAGE)
    _KEEP.append(store)
    start = ctypes.addressof(ctypes.c_char.from_buffer(store))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, pages + 1):
        if libc.mprotect(ctypes.c_void_p(start + page * PAGE), PAGE, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE if side == "before" else PAGE + pages * PAGE - array.nbytes
    copy = np.frombuffer(store, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


_KEEP: list[mmap.mmap] = []

SHAPES = [
    (queries, keys, head_dim, value_dim)
    for queries, keys, (head_dim, value_dim) in itertools.product(
        (1, 5, 33, 65), (1, 7, 65, 257), ((1, 1), (5, 3), (16, 24), (33, 65))
    )
]


def visit(isa: str, dtype: str, side: str) -> None:
    """Every shape with guarded arrays, plain and with everything that is read besides."""
    rng = np.random.default_rng(0)
    with regard.set_isa(isa):
        for queries, keys, head_dim, value_dim in SHAPES:
            problem = make_problem(
                rng, heads=2, queries=queries, keys=keys, head_dim=head_dim, value_dim=value_dim,
                dtype=np.dtype(dtype),
            )  # fmt: skip
            bias = rng.standard_normal((queries, keys)).astype(dtype)
            mask = rng.random((2, queries, keys)) < 0.8
            for each in (problem, problem.but(causal=True, bias=bias, mask=mask)):
                arrays = {n: getattr(each, n) for n in ("query", "key", "value")}
                arrays |= {n: a for n, a in each.options.items() if isinstance(a, np.ndarray)}
                expected = each.attention()
                fenced = each.but(**{n: guarded(a, side) for n, a in arrays.items()})
                out = guarded(np.zeros_like(expected), side)
                assert_same_bits(fenced.attention(out=out), expected)
                # Last axes that must be gathered, with nothing behind their last element.
                turned = each.but(**{n: guarded(a[..., ::-1], side)[..., ::-1]
                                     for n, a in arrays.items()})  # fmt: skip
                assert_same_bits(turned.attention(out=out[..., ::-1]), expected)


def visit_stored(isa: str, kind: str, side: str) -> None:
    """Every storage type, decoded and not, in one piece and in pages."""
    rng = np.random.default_rng(0)
    with regard.set_isa(isa):
        for queries, keys, dim in itertools.product((1, 3, 20), (1, 33, 257), (1, 7, 17, 64)):
            problem = make_problem(
                rng, batch=(1,), heads=1, queries=queries, keys=keys, head_dim=dim, value_dim=dim
            )
            (key, key_scales), (value, value_scales) = (
                stored(x, kind) for x in (problem.key, problem.value)
            )
            problem = problem.but(key=key, value=value)
            if kind == "int8":
                problem = problem.but(key_scales=key_scales, value_scales=value_scales)
            else:
                problem = problem.but(query=rounded(problem.query, FLOATS[kind]))
            for each in (problem, paged(rng, problem, 16)):
                arrays = {n: getattr(each, n) for n in ("query", "key", "value")}
                arrays |= {n: a for n, a in each.options.items() if isinstance(a, np.ndarray)}
                expected = each.attention()
                fenced = each.but(**{n: guarded(a, side) for n, a in arrays.items()})
                out = guarded(np.zeros_like(expected), side)
                assert_same_bits(fenced.attention(out=out), expected)


def survives(visit: Callable[..., None], *arguments: str) -> None:
    """Runs the call in a process of its own, which no byte outside may end."""
    process = multiprocessing.get_context("spawn").Process(target=visit, args=arguments)
    process.start()
    process.join(120)
    exit_code = process.exitcode
    process.kill()
    assert exit_code == 0, f"killed by signal {-(exit_code or 0)}"


@pytest.mark.parametrize("side", SIDES)
def test_nothing_outside_is_touched(isa, dtype, side):
    survives(visit, isa, np.dtype(dtype).name, side)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int8"])
def test_nothing_outside_stored_arrays_is_touched(isa, kind, side):
    survives(visit_stored, isa, kind, side)


def _overrun(side: str) -> None:
    array = guarded(np.zeros(10), side)
    shift = -8 if side == "before" else array.nbytes
    ctypes.string_at(array.ctypes.data + shift, 8)


@pytest.mark.parametrize("side", SIDES)
def test_the_guard_bites(side):
    process = multiprocessing.get_context("spawn").Process(target=_overrun, args=(side,))
    process.start()
    process.join(60)
    assert process.exitcode == -11
