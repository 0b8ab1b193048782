"""The study of bounds on pages of keys: bounds hold, errors are proven, the page is current."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest

import regard
from benchmarks.studies.page_bounds import bounds, made_up, model, page
from benchmarks.studies.page_bounds.__main__ import RESULTS, dumped, measured
from benchmarks.studies.page_bounds.measure import (
    DEPTH,
    MAXIMA,
    WEIGHTS,
    Distance,
    Head,
    Share,
    measure,
)
from benchmarks.studies.page_bounds.reading import log_sum_exp, pages_read


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("name", bounds.BOUNDS)
def test_no_score_is_above_a_bound(name, rng):
    for deviation in (0.01, 1.0, 30.0):
        keys = rng.standard_normal((7, 16, 8)) * deviation + rng.standard_normal((7, 1, 8))
        query = rng.standard_normal((40, 8))
        found = bounds.BOUNDS[name](query, keys)
        largest = np.einsum("qd,pnd->qpn", query, keys).max(axis=-1)
        assert (found >= largest - 1e-12 * deviation).all()


@pytest.mark.parametrize("name", bounds.BOUNDS)
def test_a_bound_is_the_score_where_all_keys_of_a_page_are_one(name, rng):
    keys = np.repeat(rng.standard_normal((7, 1, 8)), 16, axis=1)
    query = rng.standard_normal((40, 8))
    np.testing.assert_allclose(bounds.BOUNDS[name](query, keys), query @ keys[:, 0].T, atol=1e-12)


def test_bounds_of_two_keys(rng):
    keys = np.array([[[1.0, 2.0, 0.0, 0.0], [3.0, -2.0, 0.0, 0.0]]])
    query = np.array([1.0, 1.0, 5.0, 5.0])
    assert bounds.box(query, keys) == pytest.approx([5.0])
    assert bounds.ball(query, keys) == pytest.approx([2 + 52**0.5 * 5**0.5])
    assert bounds.discs(query, keys) == pytest.approx([2 + 2**0.5 * 5**0.5])
    # They differ along one axis, which is the principal one: nothing is lost along the others.
    assert bounds.rotated_box(query, keys) == pytest.approx([3.0])
    assert bounds.all_bounds(query, keys)[bounds.SMALLEST] == pytest.approx([3.0])


def test_pages_are_read_until_the_rest_cannot_matter(rng):
    """Beside a loop that says what is meant, page after page."""
    rows = 4
    lse = rng.standard_normal((50, 9)) * 4
    bound = lse - np.log(rows) + rng.exponential(0.5, lse.shape)
    bound[::7, 6:] = lse[::7, 6:] = -np.inf
    for eps in (0.3, 1e-2, 1e-6):
        found = pages_read(bound, lse, rows, eps)
        for marked, b, weights in zip(found, bound, np.exp(lse), strict=True):
            read: list[int] = []
            for number in np.argsort(-b):
                rest = [n for n in range(9) if n not in read]
                left = sum(rows * np.exp(b[n]) for n in rest)
                if read and left <= eps * sum(weights[n] for n in read):
                    break
                read.append(int(number))
            assert sorted(read) == np.flatnonzero(marked).tolist()
        assert not found[::7, 6:].any()


def test_log_of_sums_that_would_overflow():
    x = np.array([[1000.0, 1000.0], [-np.inf, -np.inf]])
    assert log_sum_exp(x).tolist() == [1000 + np.log(2), -np.inf]


def small_head(rng: np.random.Generator) -> Head:
    """Clusters of 16 keys, three queries in each of two heads, the first two without the end."""
    centres = 2 * rng.standard_normal((16, 8))
    key = np.repeat(centres, 16, axis=0) + 0.05 * rng.standard_normal((256, 8))
    query = centres[[0, 3, 5, 7, 2, 3]].reshape(2, 3, 8)
    return Head(query, key, rng.standard_normal((256, 8)), np.array([128, 192, 256]))


def test_the_error_is_at_most_what_is_proven(rng):
    head = small_head(rng)
    found = [x for x in measure(head, (1, 16, 32)) if isinstance(x, Share)]
    assert all(share.error <= 1 for share in found)
    assert max(share.error for share in found) > 1e-3
    by_bound = {(x.rows, x.bound, x.eps): x for x in found}
    for (rows, bound, eps), share in by_bound.items():
        assert (share.kv_head <= share.query_head + 1e-12).all()
        best = by_bound[rows, WEIGHTS, eps].query_head.mean()
        assert share.query_head.mean() <= best + 1e-12, (rows, bound, eps)
    assert by_bound[16, "minimum and maximum", 1e-2].query_head.mean() > 0.5
    assert by_bound[16, MAXIMA, 1e-2].kv_head.mean() > 0.5


def test_the_error_is_that_of_attention_without_the_pages(rng):
    """Of one query that needs its own page only; the oracle knows nothing of pages."""
    head = small_head(rng)
    one = Head(head.query[:1, 2:], head.key, head.value, head.seen[2:])
    share = next(
        x
        for x in measure(one, (16,))
        if isinstance(x, Share) and (x.bound, x.eps) == (WEIGHTS, 0.01)
    )
    assert share.kv_head.tolist() == [15 / 16]
    weights = head.query[0, 2] @ head.key.T
    read = slice(5 * 16, 6 * 16)
    query = head.query[0, 2][np.newaxis]
    outputs = [
        regard.reference.attention(query, key, value, scale=1.0)
        for key, value in ((head.key, head.value), (head.key[read], head.value[read]))
    ]
    assert weights.argmax() // 16 == 5
    proven = 2 * 0.01 * np.abs(head.value).max()
    assert share.error == pytest.approx(np.abs(outputs[0] - outputs[1]).max() / proven, rel=1e-6)


def test_distances(rng):
    head = small_head(rng)
    found = {x.bound: x.nats for x in measure(head, (16,)) if isinstance(x, Distance)}
    assert found.keys() == {DEPTH, *bounds.BOUNDS, bounds.SMALLEST}
    assert all(nats > 0 for nats in found.values())
    assert found[bounds.SMALLEST] <= min(found[name] for name in bounds.BOUNDS)


def test_keys_of_no_model_are_what_they_are_called():
    def left(kind: str) -> float:
        head = made_up.KINDS[kind](np.random.default_rng(0))
        return max(
            x.kv_head.mean()
            for x in measure(head, (64,))
            if isinstance(x, Share) and x.bound in bounds.BOUNDS and x.eps == 1e-3
        )

    assert left("clusters, one after the other") > 0.9
    assert left("clusters, shuffled") < 0.1
    assert left("adversarial") < 0.1


def test_what_is_recorded_gives_the_attention_that_it_was_recorded_from(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "TOKENS", 256)
    monkeypatch.setattr(model, "QUERIES", 2)
    rope = regard.positions.Rope(base=10_000.0, interleaved=True)
    shape = (256, 8)
    query, key, value = (
        rng.standard_normal((heads, *shape), dtype=np.float32) for heads in (4, 2, 2)
    )
    outputs = []

    class Reader:
        config = SimpleNamespace(kv_heads=2, head_dim=8, layers=1)

        def forward(self, tokens, layers):
            now = slice(tokens[0], tokens[-1] + 1)
            layers[0].append(key[:, now], value[:, now], rope)
            outputs.append(layers[0].attend(query[:, now]))

    tokenizer = SimpleNamespace(message=lambda role, text: list(range(256)) if text == "" else [])
    modules = {
        "smollm2.weights": SimpleNamespace(
            load=lambda file: (Reader(), tokenizer), packaged_file=lambda: None
        ),
        "smollm2.chat": SimpleNamespace(SYSTEM=""),
    }
    monkeypatch.setattr(model, "example", modules.__getitem__)
    monkeypatch.setattr(model, "PIECE", 128)
    monkeypatch.setitem(model.TEXTS, "nothing", lambda: "text")
    model.record("nothing", tmp_path / "keys.npz")
    out = np.concatenate(outputs, axis=1)
    heads = list(model.heads(tmp_path / "keys.npz", 256))
    assert [layer for layer, _ in heads] == [0, 0]
    for number, (_, head) in enumerate(heads):
        assert head.seen.tolist() == [128, 256]
        for place, seen in enumerate(head.seen):
            for of_group in range(2):
                weights = np.exp(head.query[of_group, place] @ head.key[:seen].T)
                wanted = weights @ head.value[:seen] / weights.sum()
                got = out[2 * number + of_group, seen - 1]
                np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_text_that_is_too_short_is_refused(monkeypatch, tmp_path):
    tokenizer = SimpleNamespace(message=lambda role, text: [1, 2])
    modules = {
        "smollm2.weights": SimpleNamespace(
            load=lambda file: (SimpleNamespace(config=None), tokenizer), packaged_file=lambda: None
        ),
        "smollm2.chat": SimpleNamespace(SYSTEM=""),
    }
    monkeypatch.setattr(model, "example", modules.__getitem__)
    monkeypatch.setitem(model.TEXTS, "short", lambda: "text")
    with pytest.raises(ValueError, match="short has 4 tokens, and 8192 are needed"):
        model.record("short", tmp_path / "keys.npz")


def test_results_of_other_keys_are_kept(tmp_path):
    row = {"keys": "another", "context": 1}
    found = measured(tmp_path, "no keys have this name", {"shares": [row], "distances": [row]})
    assert found["shares"] == found["distances"] == [row]
    assert json.loads(dumped(found)) == found


@pytest.fixture
def result():
    return json.loads(RESULTS.read_text("utf-8"))


def test_the_page_shows_the_results(result):
    text = page.PAGE.read_text("utf-8")
    assert page.rewrite(text, result) == text


@pytest.mark.parametrize("part", page.PARTS)
def test_every_table_follows_the_results(part, result):
    other = copy.deepcopy(result)
    for row in other["shares"]:
        for name in ("query_head", "kv_head", "error"):
            row[name] = row[name] / 2 + 0.25
        row["layers"] = [share / 2 + 0.25 for share in row["layers"]]
    for row in other["distances"]:
        row["nats"] += 1
    assert page.PARTS[part](other) != page.PARTS[part](result)


def test_the_verdict_follows_the_results(result):
    assert "it is not built" in page.verdict(result)
    for row in result["shares"]:
        if row["bound"] == "minimum and maximum":
            row["kv_head"] = 0.6
    assert "it is worth building" in page.verdict(result)


def test_nothing_measured_is_worse_than_proven(result):
    assert all(row["error"] <= 1 for row in result["shares"])
    assert any(row["error"] > 0.01 for row in result["shares"])


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(0.0, "0"), (0.0004, "< 0.1"), (0.0005, "0.1"), (0.5, "50.0"), (1, "100.0")],
)
def test_percent(share, wanted):
    assert page.percent(share) == wanted
