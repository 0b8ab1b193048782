"""Choosing an ISA, and being told what a call will do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import regard


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
    assert done.stderr.count("Traceback") == 1
    assert "pip install" not in last  # the installation is fine


def test_show_config_as_a_dict():
    config = regard.show_config(mode="dicts")
    assert set(config) == {"version", "compiler", "isas", "openmp", "threads", "cpu"}
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
