"""Names of CPUs: of their designs, and of the folders that their results lie in."""

from __future__ import annotations

import re
from typing import Any

# Virtual machines hide the name of a CPU, but not its family and model.
_DESIGNS = {
    "(family 25, model 1)": "AMD Zen 3",
    "(family 25, model 17)": "AMD Zen 4",
    "(family 26, model 2)": "AMD Zen 5",
    "(family 6, model 143)": "Intel Sapphire Rapids",
    "(family 6, model 207)": "Intel Emerald Rapids",
}


def design(cpu: str) -> str:
    """Name what the makers call a CPU's design, or the CPU where that is not known."""
    return next((name for end, name in _DESIGNS.items() if cpu.endswith(end)), cpu)


def folder_of(machine: dict[str, Any]) -> str:
    """Name the folder of a CPU's results, as ``amd-epyc-25-17``."""
    words = re.sub(r"\((R|TM)\)|processor|family|model|cpu|@.*", " ", machine["cpu"], flags=re.I)
    return "-".join(re.findall(r"[a-z0-9]+", words.lower()))
