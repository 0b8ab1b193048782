"""Fixtures and the Hypothesis profile."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

import regard

hypothesis.settings.register_profile(
    "regard",
    max_examples=int(os.environ.get("REGARD_EXAMPLES", "60")),
    # The same examples on every run of CI; elsewhere a new run may find what the last one missed.
    derandomize="CI" in os.environ,
    deadline=None,
    print_blob=True,
)
hypothesis.settings.load_profile("regard")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests once for each ISA, if it has kernels of its own for what they call.

    avx512_bf16 is avx512 but for forward attention of bfloat16: modules that have that say so by
    ``FORWARD_BFLOAT16``.
    """
    marks = metafunc.definition.iter_markers("parametrize")
    given = hasattr(metafunc.module, "isa") or any("isa" in mark.args[0] for mark in marks)
    if given or "isa" not in metafunc.fixturenames:
        return
    names = regard.available_isas()
    if not hasattr(metafunc.module, "FORWARD_BFLOAT16"):
        names = tuple(name for name in names if name != "avx512_bf16")
    metafunc.parametrize("isa", names, indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for each ISA of this machine."""
    with regard.set_isa(request.param):
        yield request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20170612)
