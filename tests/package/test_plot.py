"""Heat maps of attention weights, drawn in memory."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import regard

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import font_manager, pyplot  # noqa: E402

from regard import plot  # noqa: E402


@pytest.fixture
def ax():
    figure = pyplot.figure()
    yield figure.subplots()
    pyplot.close(figure)


def texts(labels):
    return [label.get_text() for label in labels]


def test_weights_and_words(ax):
    weights = np.array([[1.0, 0, 0], [0.25, 0.75, 0]])
    words = ["the", "cat", "sat"]
    assert plot.heatmap(weights, query_labels=words[:2], key_labels=words, title="head 0",
                        ax=ax, cmap="magma") is ax  # fmt: skip
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_cmap().name == "magma"
    assert image.norm.vmin == 0
    assert texts(ax.get_yticklabels()) == words[:2]
    assert texts(ax.get_xticklabels()) == words
    np.testing.assert_array_equal(ax.get_xticks(), [0, 1, 2])
    np.testing.assert_array_equal(ax.get_yticks(), [0, 1])
    assert ax.get_title() == "head 0"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")
    top, bottom = ax.get_ylim()[::-1]
    assert top < bottom  # the first query is on top
    ax.figure.canvas.draw()


def test_new_figure_where_none_is_given():
    ax = plot.heatmap(np.eye(3))
    assert ax.figure.number in pyplot.get_fignums()
    ax.figure.canvas.draw()
    pyplot.close(ax.figure)


def test_extent_numbers_the_axes_of_a_pooled_map(ax):
    plot.heatmap(np.eye(4), ax=ax, extent=(4000, 8000))
    assert ax.get_xlim() == (-0.5, 7999.5)
    assert ax.get_ylim() == (3999.5, -0.5)
    assert max(ax.get_xticks()) > 4000
    ax.figure.canvas.draw()


def test_labels_are_no_mathematics(ax):
    words = ["$", "a$b$", "_^"]
    plot.heatmap(np.eye(3), query_labels=words, key_labels=words, ax=ax)
    assert texts(ax.get_yticklabels()) == [r"\$", r"a\$b\$", "_^"]
    ax.figure.canvas.draw()


# Stands for a CJK character: of the fonts that come with matplotlib, the default one lacks it, and
# DejaVu Serif and STIXGeneral are among those that have it.
RARE = "\u2900"


@pytest.fixture
def only_shipped_fonts(monkeypatch):
    """Fonts that come with matplotlib, whatever this machine has."""
    shipped = [
        font for font in font_manager.fontManager.ttflist if "mpl-data" in str(font.fname)
    ]  # fmt: skip
    monkeypatch.setattr(font_manager.fontManager, "ttflist", shipped)
    plot._fallback.cache_clear()
    yield
    plot._fallback.cache_clear()


def test_a_font_is_found_that_has_the_characters(ax, only_shipped_fonts):
    words = ["cat", RARE]
    plot.heatmap(np.eye(2), query_labels=words, key_labels=words, title=RARE, ax=ax)
    for text in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title):
        families = text.get_fontfamily()
        assert families[:-1] == list(font_manager.FontProperties().get_family())
        assert families[-1].startswith(("DejaVu", "STIX"))
    assert texts(ax.get_xticklabels()) == words
    assert ax.get_title() == RARE
    ax.figure.canvas.draw()  # would warn of a missing glyph, and warnings are errors


def test_known_families_come_first(only_shipped_fonts, monkeypatch):
    for family in ("DejaVu Serif", "STIXGeneral"):
        monkeypatch.setattr(plot, "_FAMILIES", ("none such", family))
        plot._fallback.cache_clear()
        assert plot._fallback(frozenset(RARE)) == (family, frozenset())


def test_the_font_that_lacks_fewest_is_taken(only_shipped_fonts):
    in_stix_only = "\u0359"
    assert plot._fallback(frozenset((RARE, in_stix_only, "你"))) == ("STIXGeneral", {"你"})


def test_characters_that_no_font_has_are_spelt_out(ax, only_shipped_fonts):
    words = ["你", "好a"]
    with pytest.warns(UserWarning, match=r"no installed font has 你好\. Install one"):
        plot.heatmap(np.eye(2), query_labels=words, key_labels=words, ax=ax)
    assert texts(ax.get_yticklabels()) == ["U+4F60", "U+597Da"]
    ax.figure.canvas.draw()


def test_chinese_where_a_font_has_it(ax):
    words = ["你", "好"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plot.heatmap(np.eye(2), query_labels=words, key_labels=words, ax=ax)
        ax.figure.canvas.draw()
    if any("no installed font" in str(warning.message) for warning in caught):
        pytest.skip("needs a font with Chinese characters")
    assert not caught
    assert texts(ax.get_yticklabels()) == words


def test_long_words_stand_upright(ax):
    plot.heatmap(np.eye(2), key_labels=["a", "long"], ax=ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90}
    plot.heatmap(np.eye(2), key_labels=["a", "b"], ax=ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {0}


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2), (0, 3)])
def test_weights_must_be_a_matrix(ax, shape):
    with pytest.raises(ValueError, match="weights has shape"):
        plot.heatmap(np.zeros(shape), ax=ax)


def test_labels_must_be_as_many_as_positions(ax):
    with pytest.raises(ValueError, match="2 key_labels for 3 positions"):
        plot.heatmap(np.eye(3), key_labels=["a", "b"], ax=ax)
    with pytest.raises(ValueError, match="4 query_labels for 3 positions"):
        plot.heatmap(np.eye(3), query_labels=["a"] * 4, ax=ax)


@pytest.mark.parametrize("extent", [(1,), (1, 2, 3), 4, "44", (2.0, 2), (0, 4), (4, -1), {2, 3}])
def test_extent_is_two_counts(extent, ax):
    with pytest.raises(ValueError, match=r"heatmap: extent is .*\n  Give"):
        plot.heatmap(np.eye(2), ax=ax, extent=extent)


def test_without_matplotlib_the_error_names_the_extra():
    """matplotlib is first looked for when something is drawn."""
    program = """
import sys
sys.modules["matplotlib"] = None
import regard
try:
    regard.plot.heatmap([[1.0]])
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert 'pip install "regard[plot]"' in done.stdout


def test_exported():
    assert regard.plot is plot
