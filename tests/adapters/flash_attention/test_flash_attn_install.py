"""The name flash_attn: there when asked for, never over a package of that name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
ours: Any = pytest.importorskip("regard.flash_attn")


@pytest.fixture(autouse=True)
def _leave_nothing() -> Iterator[None]:
    if find_spec("flash_attn") is not None:
        pytest.skip("the package flash-attn itself is here")
    yield
    ours.uninstall()
    assert not [name for name in sys.modules if name.partition(".")[0] == "flash_attn"]


def test_importing_regard_installs_nothing() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash_attn")


def test_what_code_imports_is_there() -> None:
    ours.install()
    ours.install()  # again changes nothing
    package = importlib.import_module("flash_attn")
    names = [name for name in ours.__all__ if name.startswith("flash_attn_")]
    assert len(names) == 7
    for place in (package, importlib.import_module("flash_attn.flash_attn_interface")):
        assert all(getattr(place, name) is getattr(ours, name) for name in names)
    padding = importlib.import_module("flash_attn.bert_padding")
    for name in ("unpad_input", "pad_input", "index_first_axis", "index_put_first_axis"):
        assert getattr(padding, name) is getattr(ours.bert_padding, name)
    assert package.bert_padding is padding
    assert [int(part) for part in package.__version__.split(".")[:2]] == [2, 8]
    assert package.__version__.endswith("+regard")
    assert find_spec("flash_attn") is package.__spec__  # how others ask whether it is there
    with pytest.raises(ModuleNotFoundError, match=r"flash_attn\.layers"):
        importlib.import_module("flash_attn.layers.rotary")


def test_uninstall_takes_away_what_install_has_put_there() -> None:
    ours.uninstall()  # nothing is there yet
    ours.install()
    ours.uninstall()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash_attn.bert_padding")


@pytest.mark.parametrize("imported", [False, True])
def test_a_package_of_that_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: bool
) -> None:
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text("there = True\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        if imported:
            importlib.import_module("flash_attn")
        with pytest.raises(ImportError, match=r"there is a package flash_attn \(.*__init__\.py\)"):
            ours.install()
        ours.uninstall()  # takes nothing away that is not ours
        assert importlib.import_module("flash_attn").there
    sys.modules.pop("flash_attn")
    importlib.invalidate_caches()
