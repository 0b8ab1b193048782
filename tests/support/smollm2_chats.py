"""The modules of the language model of the examples, and how a conversation begins."""

from __future__ import annotations

import importlib
from typing import Any


def module(name: str) -> Any:
    return importlib.import_module(f"_models.smollm2.{name}")


def begin(tokenizer: Any, prompt: str) -> list[int]:
    """Write down a conversation up to the model's first reply."""
    return [
        *tokenizer.message("system", module("chat").SYSTEM),
        *tokenizer.message("user", prompt),
        *tokenizer.start("assistant"),
    ]
