"""Heat maps of attention weights, drawn in memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import regard
from pictures import WORDS, causal_weights, texts, unreadable

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from regard import plot  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture
def ax():
    return Figure().subplots()


def test_weights_and_words(ax):
    weights = np.array([[1.0, 0, 0], [0.25, 0.75, 0]])
    words = ["the", "cat", "sat"]
    figure = plot.heatmap(weights, query_labels=words[:2], key_labels=words, title="head 0",
                          ax=ax, cmap="magma")  # fmt: skip
    assert figure is ax.figure
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_cmap().name == "magma"
    assert image.get_clim() == (0, 1)
    assert texts(ax.get_yticklabels()) == words[:2]
    assert texts(ax.get_xticklabels()) == words
    np.testing.assert_array_equal(ax.get_xticks(), [0, 1, 2])
    np.testing.assert_array_equal(ax.get_yticks(), [0, 1])
    assert ax.get_title() == "head 0"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")
    top, bottom = ax.get_ylim()[::-1]
    assert top < bottom  # the first query is on top
    assert not unreadable(figure)


def test_new_figure_where_none_is_given():
    figure = plot.heatmap(np.eye(3))
    assert figure.number in pyplot.get_fignums()
    assert not unreadable(figure)


@pytest.mark.parametrize("count", [1, 2, 3, 12, 60, 1000])
def test_numbers_are_whole(count):
    figure = plot.heatmap(np.eye(count))
    assert not unreadable(figure)
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        low, high = sorted(axis.get_view_interval())
        shown = [tick for tick in axis.get_ticklocs() if low <= tick <= high]
        assert shown == [round(tick) for tick in shown]
        assert 1 <= len(shown) <= 12


def test_extent_numbers_the_axes_of_a_pooled_map(ax):
    plot.heatmap(np.eye(4), ax=ax, extent=(4000, 8000))
    assert ax.get_xlim() == (-0.5, 7999.5)
    assert ax.get_ylim() == (3999.5, -0.5)
    assert max(ax.get_xticks()) > 4000
    assert not unreadable(ax.figure)


@pytest.mark.parametrize("size", [None, (4, 3), (9, 9)])
@pytest.mark.parametrize("count", [1, 3, 12, 60])
def test_words_can_be_read_at_any_size(count, size, rng):
    """All of them where they have room, else every n-th; never over each other."""
    words = WORDS[:count]
    ax = None if size is None else Figure(figsize=size, layout="constrained").subplots()
    weights = causal_weights(rng, count)
    figure = plot.heatmap(weights, query_labels=words, key_labels=words, title="a sonnet", ax=ax)
    assert not unreadable(figure)
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        places = [round(place) for place in axis.get_ticklocs()]
        assert places == list(range(0, count, places[1] if len(places) > 1 else 1))
        assert texts(axis.get_ticklabels()) == [words[place] for place in places]
        if count <= 3 or size is None:
            assert places == list(range(count))  # a new figure is as large as its words ask for


def test_words_stand_upright_where_they_would_touch(ax):
    plot.heatmap(np.eye(12), key_labels=["longer"] * 12, ax=ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {90}
    assert {label.get_rotation() for label in ax.get_yticklabels()} == {0}
    plot.heatmap(np.eye(12), key_labels=["a"] * 12, ax=ax)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {0}


def test_very_long_words_are_cut(ax):
    plot.heatmap(np.eye(2), key_labels=["Donaudampfschifffahrt", "kurz"], ax=ax)
    assert texts(ax.get_xticklabels()) == ["Donaudampfschifffah…", "kurz"]


def test_zooming_shows_more_words():
    ax = Figure(figsize=(4, 3)).subplots()
    plot.heatmap(np.eye(60), key_labels=WORDS[:60], ax=ax)
    assert len(ax.get_xticks()) < 60
    ax.set_xlim(9.5, 14.5)
    assert texts(ax.get_xticklabels()) == WORDS[10:15]


def test_labels_are_no_mathematics(ax):
    words = ["$", "a$b$", "_^"]
    plot.heatmap(np.eye(3), query_labels=words, key_labels=words, ax=ax)
    assert texts(ax.get_yticklabels()) == [r"\$", r"a\$b\$", "_^"]
    ax.figure.canvas.draw()


def pixel(figure, ax, row, column, cells):
    """Colours inside a cell of a drawn matrix, as a set."""
    figure.canvas.draw()
    (left, top), (right, bottom) = ax.transData.transform(
        [(column - 0.4, row - 0.4), (column + 0.4, row + 0.4)]
    )
    drawn = np.asarray(figure.canvas.buffer_rgba())
    height = len(drawn)
    part = drawn[int(height - top) : int(height - bottom), int(left) : int(right), :3]
    return {tuple(colour) for colour in part.reshape(-1, 3).tolist()}


@pytest.mark.parametrize("theme", [None, "light", "dark"])
@pytest.mark.parametrize("given", ["mask", "nan", "masked array"])
def test_masked_cells_are_not_zero_ones(theme, given):
    seen = np.array([[True, False], [True, True]])
    weights, mask = np.array([[1.0, 0.0], [0.0, 1.0]]), None
    if given == "mask":
        mask = seen
    elif given == "nan":
        weights = np.where(seen, weights, np.nan)
    else:
        weights = np.ma.masked_array(weights, ~seen)
    figure = plot.heatmap(weights, mask=mask, theme=theme)
    ax = figure.axes[0]
    zero = pixel(figure, ax, 1, 0, 2)
    masked = pixel(figure, ax, 0, 1, 2)
    assert zero == {(68, 1, 84)}  # the dark end of viridis
    assert len(masked) > 2  # hatched
    assert not zero & masked


def test_a_mask_broadcasts_to_heads(rng):
    weights = causal_weights(rng, 5, 3)
    figure = plot.heatmap(weights, mask=np.tri(5, dtype=bool))
    for ax, matrix in zip(figure.axes[:3], weights, strict=True):
        drawn = ax.get_images()[0].get_array()
        np.testing.assert_array_equal(np.ma.getmaskarray(drawn), ~np.tri(5, dtype=bool))
        np.testing.assert_array_equal(drawn.filled(0), matrix)


@pytest.mark.parametrize(("heads", "grid"), [(1, (1, 1)), (3, (1, 3)), (5, (2, 3))])
@pytest.mark.parametrize("count", [3, 40])
def test_several_heads_are_a_grid(heads, grid, count, rng):
    words = WORDS[:count]
    figure = plot.heatmap(
        causal_weights(rng, count, heads), query_labels=words, key_labels=words, title="layer 3"
    )
    assert not unreadable(figure)
    panels = figure.axes[:heads]
    assert len(figure.axes) == heads + 1  # one colour scale
    assert [ax.get_title() for ax in panels] == [f"head {n}" for n in range(heads)]
    assert {ax.get_images()[0].get_clim() for ax in panels} == {(0, 1)}
    spec = panels[0].get_gridspec()
    assert (spec.nrows, spec.ncols) == grid
    assert figure.get_suptitle() == "layer 3"
    # Words are written once for a row and a column of heads.
    labelled = [bool(ax.get_ylabel()) for ax in panels]
    assert labelled == [n % grid[1] == 0 for n in range(heads)]


def test_vmax_is_the_top_of_the_scale(ax):
    plot.heatmap([[1.0, 0.1]], vmax=0.5, ax=ax)
    assert ax.get_images()[0].get_clim() == (0, 0.5)
    assert ax.get_images()[0].colorbar.extend == "max"
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="heatmap: vmax is"):
            plot.heatmap([[1.0]], vmax=bad)


def test_weights_of_zero_have_a_scale(ax):
    plot.heatmap(np.zeros((2, 2)), ax=ax)
    assert ax.get_images()[0].get_clim() == (0, 1)
    plot.heatmap(np.full((2, 2), np.nan), ax=ax)
    ax.figure.canvas.draw()


def brightness(colour):
    return np.mean(matplotlib.colors.to_rgb(colour))


@pytest.mark.parametrize(("theme", "dark"), [("light", False), ("dark", True)])
def test_themes_hold_after_the_call(theme, dark, rng):
    """Ticks are made when a picture is drawn, which is when matplotlib's own style is back."""
    figure = plot.heatmap(causal_weights(rng, 5), key_labels=WORDS[:5], title="x", theme=theme)
    figure.canvas.draw()
    assert (brightness(figure.get_facecolor()) < 0.2) == dark
    ax, bar = figure.axes
    for text in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.xaxis.label,
                 *bar.get_yticklabels(), bar.yaxis.label):  # fmt: skip
        assert (brightness(text.get_color()) > 0.7) == dark
    assert matplotlib.rcParams["figure.facecolor"] == "white"


def test_without_a_theme_matplotlibs_style_holds():
    with pyplot.style.context("dark_background"):
        figure = plot.heatmap(np.eye(2))
        assert brightness(figure.get_facecolor()) < 0.2


@pytest.mark.parametrize("shape", [(3,), (1, 1, 2, 2), (0, 3), (2, 0, 3)])
def test_weights_must_be_a_matrix_or_some(shape):
    with pytest.raises(
        ValueError, match=r"heatmap: weights has shape .*\n  Give \(queries, keys\)"
    ):
        plot.heatmap(np.zeros(shape))


def test_labels_must_be_as_many_as_positions(ax):
    with pytest.raises(ValueError, match="heatmap: 2 key_labels for 3 positions"):
        plot.heatmap(np.eye(3), key_labels=["a", "b"], ax=ax)
    with pytest.raises(ValueError, match="heatmap: 4 query_labels for 3 positions"):
        plot.heatmap(np.eye(3), query_labels=["a"] * 4, ax=ax)


def test_masks_and_themes_are_checked(ax):
    with pytest.raises(TypeError, match=r"heatmap: mask is of int64.\n  Give bool"):
        plot.heatmap(np.eye(3), mask=np.eye(3, dtype=int))
    with pytest.raises(ValueError, match=r"heatmap: mask has shape \(2, 2\), weights \(3, 3\)"):
        plot.heatmap(np.eye(3), mask=np.ones((2, 2), dtype=bool))
    with pytest.raises(ValueError, match="heatmap: theme is 'blue'"):
        plot.heatmap(np.eye(3), theme="blue")
    with pytest.raises(ValueError, match="heatmap: ax is given, and several heads"):
        plot.heatmap(np.ones((2, 3, 3)), ax=ax)
    with pytest.raises(ValueError, match="heatmap: ax is given, and a theme"):
        plot.heatmap(np.eye(3), ax=ax, theme="dark")


@pytest.mark.parametrize("extent", [(1,), (1, 2, 3), 4, "44", (2.0, 2), (0, 4), (4, -1), {2, 3}])
def test_extent_is_two_counts(extent, ax):
    with pytest.raises(ValueError, match=r"heatmap: extent is .*\n  Give"):
        plot.heatmap(np.eye(2), ax=ax, extent=extent)


@pytest.mark.parametrize("call", ["heatmap([[1.0]])", "heads([[[1.0]]])", "summary(None)"])
def test_without_matplotlib_the_error_names_the_extra(call):
    """matplotlib is first looked for when something is drawn."""
    program = f"""
import sys
sys.modules["matplotlib"] = None
import regard
try:
    regard.plot.{call}
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert 'pip install "regard[plot]"' in done.stdout


def test_exported():
    assert regard.plot is plot
    assert plot.__all__ == ["heads", "heatmap", "save", "summary"]


def test_what_is_no_summary_is_refused():
    with pytest.raises(TypeError, match=r"^summary: found is a int"):
        regard.plot.summary(3)
