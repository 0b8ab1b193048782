"""How long OpenMP's threads wait busily after a call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# libgomp's threads spin for milliseconds after a parallel region by default, on the cores that
# NumPy's matrix product wants next: alternating the two then takes five times their sum. Some
# microseconds are enough to catch the next call of a loop that calls nothing else.
_SPINS = "3000"


@contextlib.contextmanager
def short_spin() -> Iterator[None]:
    """Let a libgomp that is loaded inside wait busily for microseconds only.

    It reads its settings from the environment once, when it is loaded. Whoever sets
    ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT``, or loads libgomp first, keeps their choice.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = _SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]
