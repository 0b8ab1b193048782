"""Words of pictures in scripts that the default font lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from pictures import texts

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from fontTools.fontBuilder import FontBuilder  # noqa: E402  matplotlib brings it
from fontTools.pens.ttGlyphPen import TTGlyphPen  # noqa: E402
from matplotlib import font_manager  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from regard import plot  # noqa: E402
from regard.plot import _fonts  # noqa: E402

# Stands for a CJK character: of the fonts that come with matplotlib, the default one lacks it, and
# DejaVu Serif and STIXGeneral are among those that have it.
RARE = "\u2900"


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def only_shipped_fonts(monkeypatch):
    """Fonts that come with matplotlib, whatever this machine has."""
    shipped = [
        font for font in font_manager.fontManager.ttflist if "mpl-data" in str(font.fname)
    ]  # fmt: skip
    monkeypatch.setattr(font_manager.fontManager, "ttflist", shipped)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)


def test_a_font_is_found_that_has_the_characters(ax, only_shipped_fonts):
    words = ["cat", RARE]
    plot.heatmap(np.eye(2), query_labels=words, key_labels=words, title=RARE, ax=ax)
    for text in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title):
        families = text.get_fontfamily()
        assert families[:-1] == list(font_manager.FontProperties().get_family())
        assert families[-1].startswith(("DejaVu", "STIX"))
    assert texts(ax.get_xticklabels()) == words
    assert ax.get_title() == RARE
    ax.figure.draw_without_rendering()  # would warn of a missing glyph, and warnings are errors


def test_known_families_come_first(only_shipped_fonts, monkeypatch):
    for family in ("DejaVu Serif", "STIXGeneral"):
        monkeypatch.setattr(_fonts, "FAMILIES", ("none such", family))
        assert _fonts._fallback(frozenset(RARE)) == (family, frozenset())


def test_the_font_that_lacks_fewest_is_taken(only_shipped_fonts):
    in_stix_only = "\u0359"
    assert _fonts._fallback(frozenset((RARE, in_stix_only, "你"))) == ("STIXGeneral", {"你"})


def test_characters_that_no_font_has_are_spelt_out(ax, only_shipped_fonts):
    words = ["你", "好a"]
    said = r"heatmap: no installed font has 你好\.\n  Install one, .* and draw again"
    with pytest.warns(UserWarning, match=said) as told:
        plot.heatmap(np.eye(2), query_labels=words, key_labels=words, ax=ax)
    assert told[0].filename == __file__
    assert texts(ax.get_yticklabels()) == ["U+4F60", "U+597Da"]
    ax.figure.draw_without_rendering()


def test_chinese_where_a_font_has_it(ax):
    words = ["你", "好"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plot.heatmap(np.eye(2), query_labels=words, key_labels=words, ax=ax)
        ax.figure.draw_without_rendering()
    if any("no installed font" in str(warning.message) for warning in caught):
        pytest.skip("needs a font with Chinese characters")
    assert not caught
    assert texts(ax.get_yticklabels()) == words


def new_font(path: Path, characters: str) -> None:
    """Write a font of squares, of a family that no machine has."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((900, 0), (900, 800), (100, 800)):
        pen.lineTo(point)
    pen.closePath()
    names = [".notdef", *(f"u{ord(c):04X}" for c in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Regard Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


DRAW = """
import json, warnings
import regard
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    figure = regard.plot.heatmap([[1.0]], key_labels=[chr(0x10F000)])
    figure.draw_without_rendering()
(label,) = figure.axes[0].get_xticklabels()
print(json.dumps({
    "said": [str(warning.message) for warning in told],
    "text": label.get_text(),
    "family": label.get_fontfamily()[-1],
}))
"""


def test_the_advice_to_install_a_font_works(tmp_path):
    """matplotlib's list of fonts, on disk, is older than the font; in a process of its own."""

    def drawn():
        done = subprocess.run(
            [sys.executable, "-c", DRAW],
            env={
                **os.environ,
                "MPLBACKEND": "Agg",
                "MPLCONFIGDIR": str(tmp_path / "config"),
                "XDG_DATA_HOME": str(tmp_path / "data"),
            },
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    character = chr(0x10F000)  # for private use: no font has it but ours
    before = drawn()
    assert "no installed font has" in before["said"][0]
    assert before["text"] == "U+10F000"

    fonts = tmp_path / "data" / "fonts"
    fonts.mkdir(parents=True)
    new_font(fonts / "squares.ttf", character)
    after = drawn()
    (listed,) = (tmp_path / "config").glob("fontlist-*.json")
    assert "Regard Squares" not in listed.read_text()  # matplotlib has not looked again
    assert (after["said"], after["text"]) == ([], character)
    assert after["family"] == "Regard Squares"
