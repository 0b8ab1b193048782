"""A user's program runs, and passes strict type checkers; typing errors in options do not."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from paths import ROOT

PROGRAM = ROOT / "tests" / "typing" / "program.py"

# One line each, after `import regard` and `x`, `cuts` and `cache`.
MISUSES = (
    "regard.attention(x, x, x, casual=True)",
    "regard.varlen_attention(x, x, x, cuts, cuts, casual=True)",
    "regard.attention_weights(x, x, dropout=0.1)",
    "regard.attention_summary(x, x, window='three')",
    "regard.attention_vjp(x, x, x, key_scales=x)",
    "regard.attention_backward(x, x, x, x, x, x, casual=True)",
    "regard.attention_jvp(x, x, x, causal='down')",
    "regard.explain(x, x, x, casual=True)",
    "cache.attend(x, casual=True)",
    "regard.attention(x, x, x).shap",
    "regard.varlen_attention(x, x, x, cuts, cuts)[0].shap",
    "regard.attention_vjp(x, x, x)[1](x).keys",
)


@pytest.fixture
def misuses(tmp_path: pathlib.Path) -> pathlib.Path:
    first = ["import numpy as np", "import regard", "x = np.zeros((2, 3, 4))", "cuts = [0, 2]"]
    first += ["cache = regard.KVCache(1, 2, 3, 4)"]
    file = tmp_path / "misuses.py"
    file.write_text("\n".join([*first, *MISUSES]) + "\n")
    return file


def run(*command: str, folder: pathlib.Path) -> tuple[int, str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_runs(tmp_path):
    code, told = run(sys.executable, "-W", "error", str(PROGRAM), folder=tmp_path)
    assert code == 0, told
    assert told.splitlines()[0] == "(2, 4, 6, 8) float32"


def test_mypy(tmp_path, misuses):
    pytest.importorskip("mypy")
    strict = (sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path / 'cache'}")
    code, told = run(*strict, str(PROGRAM), folder=tmp_path)
    assert code == 0, told
    _, told = run(*strict, str(misuses), folder=tmp_path)
    for number in range(6, 6 + len(MISUSES)):
        assert f"misuses.py:{number}: error" in told, (MISUSES[number - 6], told)


def test_pyright(tmp_path, misuses):
    """By basedpyright, which needs no network when it runs; a step of CI installs it."""
    pyright = shutil.which("basedpyright", path=pathlib.Path(sys.executable).parent)
    if pyright is None:
        pytest.skip("basedpyright is not installed")
    for file in (PROGRAM, misuses):
        settings = {
            "typeCheckingMode": "strict", "include": [str(file)], "pythonVersion": "3.10",
            "reportUnusedExpression": False,
            "reportUnknownMemberType": False,  # NumPy's own reshape is partly unknown
        }  # fmt: skip
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
        command = (pyright, "--outputjson", "--pythonpath", sys.executable)
        _, told = run(*command, folder=tmp_path)
        errors = {
            problem["range"]["start"]["line"]: problem["message"]
            for problem in json.loads(told)["generalDiagnostics"]
            if problem["severity"] == "error"
        }
        expected = range(5, 5 + len(MISUSES)) if file is misuses else ()
        assert set(errors) == set(expected), errors
