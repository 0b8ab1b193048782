"""Fonts for words in any script: the default one, or an installed one that has the characters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

from matplotlib import font_manager

# Families with Chinese, Japanese and Korean glyphs, those that most systems have first; without
# this order a font may be found that has the glyphs but is not meant for running text.
FAMILIES = (
    "Noto Sans CJK", "Source Han Sans", "PingFang", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic", "Apple SD Gothic", "WenQuanYi", "SimHei", "Droid Sans Fallback", "IPAGothic",
    "NanumGothic", "Noto Sans", "Noto Serif CJK", "Arial Unicode",
)  # fmt: skip
PLAIN = ("400", "normal", "regular")  # weights, as fonts tell them


class Lettering:
    """What the words of a picture are drawn in.

    Parameters
    ----------
    function : str
        Who draws, for the warning.
    texts : iterable of str
        Everything that will be written.

    Attributes
    ----------
    style : dict
        Keywords of matplotlib's texts; empty where the default font has everything.

    Warns
    -----
    UserWarning
        No installed font has a character; it is shown by its number, as U+4F60.
    """

    def __init__(self, function: str, texts: Iterable[str]) -> None:
        self.style: dict[str, Any] = {}
        default = font_manager.FontProperties()
        wanted = _lacking(font_manager.findfont(default), frozenset("".join(texts)))
        self._missing = wanted
        if not wanted:
            return
        fallback, self._missing = _fallback(wanted)
        if self._missing and _look_for_new_fonts():
            fallback, self._missing = _fallback(wanted)
        if fallback is not None:
            self.style["fontfamily"] = [*default.get_family(), fallback]
        if self._missing:
            warnings.warn(
                f"{function}: no installed font has {''.join(sorted(self._missing))}.\n  Install "
                "one, such as Noto Sans CJK (Debian's fonts-noto-cjk), and draw again.",
                stacklevel=3,
            )

    def spelt(self, text: str) -> str:
        """Put numbers in the place of characters that cannot be drawn, and leave no mathematics."""
        known = "".join(f"U+{ord(c):04X}" if c in self._missing else c for c in text)
        return known.replace("$", r"\$")


def _fallback(wanted: frozenset[str]) -> tuple[str | None, frozenset[str]]:
    """Find the installed family that lacks fewest of some characters, and those it lacks."""

    def rank(font: font_manager.FontEntry) -> tuple[bool, int, str]:
        known = [n for n, family in enumerate(FAMILIES) if font.name.startswith(family)]
        plain = font.style == "normal" and str(font.weight) in PLAIN
        return not plain, min(known, default=len(FAMILIES)), font.name

    best: tuple[str | None, frozenset[str]] = None, wanted
    for font in sorted(font_manager.fontManager.ttflist, key=rank):
        if font.name.startswith("Last Resort"):
            continue  # has a box for every character
        lacking = _lacking(font.fname, wanted)
        if len(lacking) < len(best[1]):
            best = font.name, lacking
        if not lacking:
            break
    return best


_seen: set[str] = set()


def _look_for_new_fonts() -> bool:
    """Tell matplotlib of fonts that were installed since it wrote its list of them.

    It keeps that list on disk and never looks again; whoever follows the advice to install a font
    would otherwise have to find and delete the file.
    """
    known = {font.fname for font in font_manager.fontManager.ttflist} | _seen
    new = set(font_manager.findSystemFonts()) - known
    for path in sorted(new):
        _seen.add(path)
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):  # no font that it can read
            continue
    return bool(new)


def _lacking(path: Any, characters: frozenset[str]) -> frozenset[str]:
    """Characters that a font has no glyph for."""
    glyphs = _glyphs(path)
    return frozenset(c for c in characters if ord(c) not in glyphs and not c.isspace())


@cache
def _glyphs(path: Any) -> frozenset[int]:
    """Code points that a font has glyphs for."""
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # listed, but gone or broken
        return frozenset()
