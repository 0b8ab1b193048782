"""What machine, compiler and build a measurement was made with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import regard


def describe() -> dict[str, Any]:
    """Tell everything that a reader of the numbers needs to repeat them.

    Returns
    -------
    dict
        ``cpu``, ``cores`` (that this process may use), ``caches``, ``memory_gib``, ``system``,
        ``python``, ``numpy``, ``compiler`` and ``openmp``.
    """
    config = regard.show_config(mode="dicts")
    return {
        "cpu": config["cpu"]["model"] + _family(),
        "cores": config["cpu"]["cores"],
        "caches": config["cpu"]["caches"],
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": config["compiler"],
        "openmp": config["openmp"]["version"],
    }


def usable_cores() -> int:
    """Count the CPUs that this process may run on."""
    cores: int = regard.show_config(mode="dicts")["cpu"]["cores"]
    return cores


def _family() -> str:
    """Return family and model, which tell the design even where a VM hides the CPU's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    fields: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    if "cpu family" not in fields:
        return ""
    return f" (family {fields['cpu family']}, model {fields.get('model', '?')})"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None
