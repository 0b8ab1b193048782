"""The package's types hold, for its own sources and for those who use it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

import regard
from paths import ROOT

pytest.importorskip("mypy")

# Lines that a user may write, and lines that mypy must not let pass.
USES = """
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard

x = np.zeros((2, 3, 4), dtype=np.float32)
out: NDArray[Any] = regard.attention(x, x, x, causal="upper_left", window=(3, None))
both: tuple[NDArray[Any], NDArray[Any]] = regard.attention(x, x, x, return_lse=True)
listed: NDArray[Any] = regard.attention([[1.0]], [[2]], [[3]], out=out, key_lengths=1)
oracle: NDArray[Any] = regard.reference.attention(x, x, x, mask=x > 0, bias=x)
isas: tuple[str, ...] = regard.available_isas()
name: str = regard.active_isa()
with regard.set_isa("generic"):
    pass
told: regard.Explanation = regard.explain(x, x, x, causal=True, num_threads=2)
units: int = told.units
tiles: regard.BlockMask = regard.masks.documents([0, 0, 1]) & ~regard.masks.causal(3, 3)
biases: regard.bias.PositionBias = regard.bias.T5(np.zeros(32))
turned: NDArray[Any] = regard.positions.rope(x, scaling=regard.positions.YaRN(2.0, 64))
merged, logs = regard.merge_states([out, out], [out[..., 0], out[..., 0]])
slopes: NDArray[np.float64] = regard.alibi_slopes(8)
regard.plot.heatmap(x[0], key_labels=["a"] * 4, title="weights")
bits: regard.PackedMask = regard.PackedMask.from_dense(x > 0)
"""
MISUSES = [
    'regard.attention(x, x, x, causal="down")',
    "regard.attention(x, x, x, True)",
    "regard.attention(x, x, x, window=1.5)",
    "regard.attention(x, x)",
    "regard.set_isa(3)",
    "regard.BlockMask.from_dense(x) & (x > 0)",
    "regard.PackedMask(x)",
]


def mypy(folder: pathlib.Path, *arguments: str) -> tuple[int, str]:
    """Run in a folder without sources, so that the installed package is what is checked."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={os.devnull}", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


def test_package_is_strictly_typed(tmp_path):
    assert (pathlib.Path(regard.__file__).parent / "py.typed").exists()
    config = ROOT / "pyproject.toml"  # for packages that are not there
    code, told = mypy(tmp_path, "--config-file", str(config), "-p", "regard")
    assert code == 0, told


def test_uses_type_check(tmp_path):
    (tmp_path / "uses.py").write_text(USES)
    code, told = mypy(tmp_path, "uses.py")
    assert code == 0, told


def test_misuses_do_not_type_check(tmp_path):
    lines = ["import numpy as np", "import regard", "x = np.zeros((2, 3, 4))", *MISUSES]
    (tmp_path / "misuses.py").write_text("\n".join(lines) + "\n")
    code, told = mypy(tmp_path, "misuses.py")
    assert code == 1
    for number in range(4, len(lines) + 1):
        assert f"misuses.py:{number}: error" in told, told


def test_stubs_say_what_the_extension_has(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "regard._core"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
