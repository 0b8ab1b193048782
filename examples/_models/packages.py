"""Where an installed package keeps its files, without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def package_folder(name: str, install: str) -> Path:
    """Return the folder of an installed package.

    Parameters
    ----------
    name : str
        As it is imported.
    install : str
        The command that installs it.

    Raises
    ------
    SystemExit
        It is not installed: one line that says so, and the command.
    """
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"The Python package {name} is missing: {install}")
    return Path(found.submodule_search_locations[0])
