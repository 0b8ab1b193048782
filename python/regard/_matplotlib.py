"""matplotlib where it is asked for, and how to install it where it is not."""

from __future__ import annotations

import importlib
from typing import Any


def require_matplotlib() -> Any:
    """Import matplotlib's figure module.

    Raises
    ------
    ImportError
        With the command that installs it.
    """
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib: install it with  pip install "regard[plot]"'
        ) from error
