"""What an application measured of itself, in the form of which the gallery's table is made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from regard.bench.machine import describe


@dataclass(frozen=True)
class Figure:
    """One number, and the same number of what it is compared with.

    Attributes
    ----------
    name : str
        What was measured, on what, with how many examples.
    value : float
        The application's own figure.
    unit : str
        "%", "BLEU", "bits a pixel" ...; empty for a plain number.
    beside : dict of str to float
        The same figure of others, by their names.
    """

    name: str
    value: float
    unit: str
    beside: dict[str, float]


def write_figures(
    file: Path, application: str, model: str, command: str, figures: list[Figure]
) -> None:
    """Write figures as JSON, with the day and the machine.

    Parameters
    ----------
    file : Path
        Where to, such as ``examples/figures/translation.json``.
    application : str
        The row of the table, such as "machine translation".
    model : str
        Model and data, with versions of their packages.
    command : str
        What was run.
    figures : list of Figure
        What was measured.
    """
    machine = describe()
    content = {
        "application": application,
        "model": model,
        "command": command,
        "date": date.today().isoformat(),
        "cpu": machine["cpu"],
        "figures": [asdict(figure) for figure in figures],
    }
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
