"""Choosing an ISA, and being told what a call will do."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import regard
from problems import make_problem


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_available_isas_are_ordered_and_end_with_generic():
    isas = regard.available_isas()
    assert isinstance(isas, tuple)
    assert isas[-1] == "generic"
    # On AMD, avx512_bf16 is the first of all.
    priority = ["avx512", "avx512_bf16", "avx2", "neon", "generic"]
    if isas[0] == "avx512_bf16":
        priority[:2] = reversed(priority[:2])
    assert [isa for isa in priority if isa in isas] == list(isas)


def test_every_isa_can_be_active(isa):
    assert regard.active_isa() == isa


def test_set_isa_as_a_function():
    before = regard.active_isa()
    try:
        for isa in regard.available_isas():
            regard.set_isa(isa)
            assert regard.active_isa() == isa
    finally:
        regard.set_isa(before)


def test_set_isa_as_a_context_manager_nests():
    before = regard.active_isa()
    best, worst = regard.available_isas()[0], regard.available_isas()[-1]
    with regard.set_isa(worst):
        assert regard.active_isa() == worst
        with regard.set_isa(best):
            assert regard.active_isa() == best
        assert regard.active_isa() == worst
    assert regard.active_isa() == before


def test_set_isa_is_undone_by_an_exception():
    before = regard.active_isa()
    with pytest.raises(ZeroDivisionError), regard.set_isa("generic"):
        raise ZeroDivisionError
    assert regard.active_isa() == before


@pytest.mark.parametrize("name", ["avx1024", "", "generic "])
def test_set_isa_refuses_unknown_names(name):
    before = regard.active_isa()
    with pytest.raises(ValueError, match="set_isa") as error:
        regard.set_isa(name)
    for isa in regard.available_isas():
        assert isa in str(error.value)
    assert repr(name) in str(error.value) or f'"{name}"' in str(error.value)
    assert regard.active_isa() == before


def test_set_isa_refuses_what_is_no_name():
    for bad in (None, 3, b"generic"):
        with pytest.raises(TypeError):
            regard.set_isa(bad)


PRINT_ISA = "import regard; print(regard.active_isa())"


def test_the_best_isa_is_active_at_import():
    done = run("import os; os.environ.pop('REGARD_ISA', None); " + PRINT_ISA)
    assert done.stdout.strip() == regard.available_isas()[0]


@pytest.mark.parametrize("name", regard.available_isas())
def test_regard_isa_in_the_environment(name):
    done = run(PRINT_ISA, REGARD_ISA=name)
    assert (done.returncode, done.stdout.strip()) == (0, name), done.stderr


def test_bad_regard_isa_in_the_environment():
    """It must not be ignored, and the message says which names would do."""
    done = run(PRINT_ISA, REGARD_ISA="avx1024")
    assert done.returncode != 0
    last = done.stderr[done.stderr.rindex("Error:") :]
    assert "REGARD_ISA" in last
    assert "avx1024" in last
    for isa in regard.available_isas():
        assert isa in last


def test_show_config_as_a_dict():
    config = regard.show_config(mode="dicts")
    assert set(config) == {"version", "compiler", "isas", "openmp", "cpu"}
    assert config["version"] == regard.__version__
    assert config["isas"]["active"] == regard.active_isa()
    assert tuple(config["isas"]["supported"]) == regard.available_isas()
    assert set(config["isas"]["supported"]) <= set(config["isas"]["compiled"])
    assert config["openmp"]["threads"] >= 1
    assert config["cpu"]["cores"] >= 1
    with regard.set_isa("generic"):
        assert regard.show_config(mode="dicts")["isas"]["active"] == "generic"


def test_show_config_prints(capsys):
    assert regard.show_config() is None
    printed = capsys.readouterr().out
    assert regard.__version__ in printed
    assert regard.active_isa() in printed


def test_show_config_refuses_other_modes():
    with pytest.raises(ValueError, match="dicts"):
        regard.show_config(mode="yaml")


def test_explain_tells_the_isa_and_the_kernel(isa, dtype, rng):
    problem = make_problem(rng, batch=(2,), heads=4, kv_heads=2, queries=70, keys=90, dtype=dtype)
    told = regard.explain(problem.query, problem.key, problem.value, causal=True)
    assert isinstance(told, regard.Explanation)
    assert told.isa == isa
    assert isinstance(told.kernel, str)
    assert told.kernel
    assert told.query_block >= 1
    assert told.key_tile >= 1
    assert told.units >= 1
    assert told.threads >= 1
    assert told.scratch_bytes >= 0
    assert isa in str(told)
    assert "\n" in str(told)


def test_explain_counts_threads(isa, rng):
    small = make_problem(rng)
    large = make_problem(rng, batch=(4,), heads=8, queries=512, keys=512, head_dim=64)
    explain = [
        regard.explain(p.query, p.key, p.value, num_threads=n)
        for p, n in ((small, 2), (large, 1), (large, 2))
    ]
    assert [told.threads for told in explain] == [1, 1, 2]


def test_explain_does_not_compute_and_writes_nothing(isa, rng):
    """Sizes that would take an hour, from arrays of one element."""
    x = np.broadcast_to(np.float32(1), (1, 64, 1 << 20, 64))
    assert regard.explain(x, x, x).units > 1000


def test_explain_of_every_option(isa, rng, dtype):
    problem = make_problem(
        rng, queries=50, keys=70, dtype=dtype, causal=True, window=(3, None), key_lengths=60,
        mask=np.ones((50, 70), dtype=bool), bias=np.zeros((50, 70), dtype=dtype), scale=0.5,
        return_lse=True, out=np.zeros((1, 50, 8), dtype=dtype), num_threads=2,
    )  # fmt: skip
    told = regard.explain(problem.query, problem.key, problem.value, **problem.options)
    assert told.isa == isa


def test_explain_raises_as_the_call_does(isa, rng):
    problem = make_problem(rng)
    for bad in ({"causal": "up"}, {"mask": np.ones((3, 3), dtype=bool)}, {"num_threads": 0}):
        with pytest.raises(ValueError, match="attention: ") as called:
            problem.attention(**bad)
        with pytest.raises(ValueError, match=re.escape(str(called.value))):
            regard.explain(problem.query, problem.key, problem.value, **bad)
