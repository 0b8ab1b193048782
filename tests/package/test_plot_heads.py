"""Grids of small maps, summaries of long texts, and the files that pictures are saved to."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

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


# heads


@pytest.mark.parametrize(
    ("lead", "grid"),
    [((1,), (1, 1)), ((3,), (1, 3)), ((12,), (3, 4)), ((32,), (4, 8)), ((2, 3), (2, 3))],
)
def test_heads_are_a_grid(lead, grid, rng):
    weights = causal_weights(rng, 6, *lead)
    figure = plot.heads(weights, title="all of them", mask=np.tri(6, dtype=bool))
    assert not unreadable(figure)
    *panels, bar = figure.axes
    drawn = [ax.get_images()[0].get_array() for ax in panels]
    np.testing.assert_array_equal(np.reshape([x.filled(0) for x in drawn], weights.shape), weights)
    assert all((np.ma.getmaskarray(x) == ~np.tri(6, dtype=bool)).all() for x in drawn)
    corners = [(round(ax.get_position().y0, 3), round(ax.get_position().x0, 3)) for ax in panels]
    assert tuple(len(set(places)) for places in zip(*corners, strict=True)) == grid
    boxes = [ax.get_window_extent() for ax in panels]
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in [*boxes[:n]])
    assert len({ax.get_images()[0].get_clim() for ax in panels}) == 1
    assert bar.get_ylabel() == "weight"


def test_heads_of_layers_are_numbered_at_the_edges(rng):
    figure = plot.heads(causal_weights(rng, 4, 2, 3))
    panels = figure.axes[:-1]
    assert [ax.get_title() for ax in panels] == ["head 0", "1", "2", "", "", ""]
    assert [ax.get_ylabel() for ax in panels] == ["layer 0", "", "", "1", "", ""]
    figure = plot.heads(causal_weights(rng, 4, 3))
    assert [ax.get_title() for ax in figure.axes[:-1]] == ["head 0", "head 1", "head 2"]


def test_a_few_large_weights_do_not_darken_the_others(rng):
    weights = rng.uniform(0.0, 0.01, (4, 50, 50))
    weights[:, 0, 0] = 1.0
    figure = plot.heads(weights)
    assert 0.009 < figure.axes[0].get_images()[0].get_clim()[1] < 0.01
    assert figure.axes[0].get_images()[0].colorbar.extend == "max"
    # Few weights are shown as they are, and so is what is asked for.
    assert plot.heads(weights[:, :5, :5]).axes[0].get_images()[0].get_clim() == (0, 1)
    assert plot.heads(weights, vmax=0.5).axes[0].get_images()[0].get_clim() == (0, 0.5)


def test_heads_are_checked():
    with pytest.raises(ValueError, match=r"heads: weights has shape \(3, 3\).\n  Give \(heads, qu"):
        plot.heads(np.eye(3))
    with pytest.raises(TypeError, match="heads: mask is of float64"):
        plot.heads(np.ones((1, 3, 3)), mask=np.eye(3))
    with pytest.raises(ValueError, match="heads: theme is 1"):
        plot.heads(np.ones((1, 3, 3)), theme=1)
    with pytest.raises(ValueError, match="heads: vmax is 0"):
        plot.heads(np.ones((1, 3, 3)), vmax=0)


# summary


def summarised(rng, length, *lead, **options):
    query, key = rng.standard_normal((2, *lead, length, 8))
    options = {"top_k": 2, "pooled": (min(length, 20),) * 2, **options}
    return regard.attention_summary(query, key, causal=True, **options)


@pytest.mark.parametrize("theme", [None, "light", "dark"])
@pytest.mark.parametrize(
    ("length", "lead"), [(1, ()), (6, ()), (6, (1, 2)), (40, (3,)), (700, (4,))]
)
def test_a_summary_can_be_read(length, lead, theme, rng):
    words = (WORDS * 20)[:length]
    found = summarised(rng, length, *lead)
    assert not unreadable(plot.summary(found, key_labels=words, title="a text", theme=theme))


def test_a_summary_shows_its_numbers(rng):
    found = summarised(rng, 40, 3)
    figure = plot.summary(found, key_labels=WORDS[:40], top=4)
    where, received, spread, ranking = figure.axes[:4]
    np.testing.assert_allclose(where.get_images()[0].get_array(), found.pooled.mean(axis=0))
    assert where.get_xlim() == (-0.5, 39.5)

    shares = found.column_sums.sum(axis=0) / found.column_sums.sum()
    values, edges, _ = received.patches[0].get_data()
    np.testing.assert_allclose(values, shares)
    np.testing.assert_allclose(edges, np.arange(41) - 0.5)

    (line,) = spread.get_lines()
    np.testing.assert_allclose(line.get_ydata(), found.entropy.mean(axis=0))
    low, high = spread.collections[0].get_datalim(spread.transData).intervaly
    assert (low, high) == pytest.approx((found.entropy.min(), found.entropy.max()))

    most = np.argsort(-shares, kind="stable")[:4]
    assert texts(ranking.get_yticklabels()) == [f"{WORDS[key]}  {key}" for key in most]
    of_attention, of_queries = ranking.containers
    np.testing.assert_allclose([bar.get_width() for bar in of_attention], shares[most])
    preferred = [(found.top_indices[..., 0] == key).mean() for key in most]
    np.testing.assert_allclose([bar.get_width() for bar in of_queries], preferred)


def test_a_summary_keeps_the_colours_of_its_theme(rng):
    figure = plot.summary(summarised(rng, 40, 3), theme="dark")
    _, received, spread, ranking = figure.axes[:4]
    drawn = {received.patches[0].get_facecolor(), spread.get_lines()[0].get_color(),
             ranking.patches[0].get_facecolor()}  # fmt: skip
    assert {matplotlib.colors.to_hex(colour) for colour in drawn} == {"#56b4e9"}


def test_a_summary_of_one_head(rng):
    found = summarised(rng, 30, 3)
    figure = plot.summary(found, head=-1)
    np.testing.assert_allclose(figure.axes[0].get_images()[0].get_array(), found.pooled[2])
    np.testing.assert_allclose(figure.axes[2].get_lines()[0].get_ydata(), found.entropy[2])
    assert not figure.axes[2].collections  # no range of heads


def test_a_long_text_is_drawn_in_bins(rng):
    found = summarised(rng, 700, 2)
    _, received, spread, _ = plot.summary(found).axes[:4]
    values, edges, _ = received.patches[0].get_data()
    assert received.get_ylabel() == "share, of 3 keys together"
    assert (edges[0], edges[1], edges[-1]) == (-0.5, 2.5, 699.5)
    assert values.sum() == pytest.approx(1)
    shares = found.column_sums.sum(axis=0) / found.column_sums.sum()
    assert values[1] == pytest.approx(shares[3:6].sum())
    (line,) = spread.get_lines()
    assert line.get_xydata()[1] == pytest.approx((4, found.entropy[:, 3:6].mean()))


def test_a_summary_without_top_keys(rng):
    figure = plot.summary(summarised(rng, 30, 3, top_k=0))
    assert len(figure.axes[3].containers) == 1
    assert not unreadable(figure)


def test_summaries_are_checked(rng):
    found = summarised(rng, 9, 2)
    with pytest.raises(ValueError, match=r"summary: found has entropy of shape \(2, 2, 9\)"):
        plot.summary(summarised(rng, 9, 2, 2))
    with pytest.raises(ValueError, match=r"summary: found has a map of shape \(2, 0, 0\)"):
        plot.summary(summarised(rng, 0, 2, pooled=(1, 1)))
    for head in (2, -3):
        with pytest.raises(ValueError, match=f"summary: head is {head}, of 2 heads"):
            plot.summary(found, head=head)
    with pytest.raises(ValueError, match="summary: 2 key_labels for 9 positions"):
        plot.summary(found, key_labels=["a", "b"])
    with pytest.raises(ValueError, match="summary: top is 0"):
        plot.summary(found, top=0)
    with pytest.raises(ValueError, match="summary: theme is 'blue'"):
        plot.summary(found, theme="blue")


# save


def small_figure() -> Figure:
    return plot.heatmap([[1.0, 0.0]], title="one & two", theme="dark", mask=[[True, False]])


SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype html>"}


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_same_figure_is_saved_as_the_same_bytes(suffix, tmp_path):
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        plot.save(small_figure(), file)
    one, other = (file.read_bytes() for file in files)
    assert one.startswith(SIGNATURES[suffix])
    assert one == other


def test_html_is_a_page_of_its_own(tmp_path):
    figure = plot.heatmap(np.eye(2), theme="dark")
    figure.suptitle("one & two")
    plot.save(figure, str(tmp_path / "x.HTML"))
    page = (tmp_path / "x.HTML").read_text(encoding="utf-8")
    assert "<title>one &amp; two</title>" in page
    assert "background: #131416" in page
    assert page.count("<svg") == 1
    ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)  # nothing is fetched


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"save: path is 'x.gif'.\n  Let it end with one of .png"):
        plot.save(Figure(), "x.gif")
    with pytest.raises(FileNotFoundError):
        plot.save(Figure(), tmp_path / "none" / "x.png")
