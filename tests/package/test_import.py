"""What `import regard` loads, and what waits until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import regard

LATE = ("regard.bias", "regard.masks", "regard.positions", "regard.plot", "matplotlib")


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_is_light():
    """Else every program would pay for what few use."""
    program = "import sys, regard; regard.attention([[1.0]], [[1.0]], [[1.0]]); print(*sys.modules)"
    assert not set(LATE) & set(run(program))


def test_everything_public_is_there():
    program = "import regard; print(*[name for name in regard.__all__ if getattr(regard, name)])"
    assert run(program) == regard.__all__
    assert set(regard.__all__) <= set(run("import regard; print(*dir(regard))"))


def test_submodules_are_there_on_first_use():
    assert run("import regard; print(regard.bench.__name__)") == ["regard.bench"]
    late = "import sys, regard; sys.modules['jax'] = None\ntry: regard.jax\n"
    assert run(late + "except ImportError as error: print(error.name)") == ["jax"]
    assert "jax" not in run("import regard; print(*dir(regard))")


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="module 'regard' has no attribute 'attentoin'"):
        regard.attentoin  # noqa: B018
