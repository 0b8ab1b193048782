"""How many answers are right, printed and as figures, beside a guess that reads nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from _models.figures import Figure

from .spans import exact_match, f1
from .stories import PLACES, Story

HEADLINE = "exact match    F1    last place named"


def last_places(asked: Sequence[Story]) -> list[str]:
    """Answer with the place that is named last, whatever the question is."""
    return [re.findall("|".join(PLACES), story.passage)[-1] for story in asked]


def compare(name: str, found: Sequence[str], asked: Sequence[Story]) -> tuple[str, list[Figure]]:
    """Compare answers with the right ones: a line under the `HEADLINE`, and its figures."""
    answers, figures, line = [story.answer for story in asked], [], ""
    for kind, measure in (("exact match", exact_match), ("F1", f1)):
        value, simple = measure(found, answers), measure(last_places(asked), answers)
        beside = {"last place named": round(simple, 1)}
        figures.append(Figure(f"{kind}, {name}", round(value, 1), "%", beside))
        line += f"{value:9.1f}"
    return f"{line}{simple:18.1f}", figures
