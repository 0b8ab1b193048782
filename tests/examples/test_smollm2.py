"""The language model of the examples, against independent runs of its weights.

All of it is skipped where the packages or the weights are not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import smollm2_runs as runs
from paths import ROOT
from smollm2_chats import begin, module

Array = NDArray[Any]

PROMPTS = (
    "Why is the sky blue?",
    "Write a short story about a robot who finds a garden.",
    "Please list the first 12 prime numbers, then add 17 + 25.",
)
TEXTS = (
    "",
    "Hello",
    "don't we'll I'M they've 'tis",
    "  two  spaces\n\n\tand\ttabs \r\n end  ",
    "1234567 3.14159 x2 ²½ Ⅷ ٣",
    "def f(x):\n    return x**2  # squared\n",
    'Ünïcödé, 我喜欢吃苹果 🍎🇫🇷 and punctuation: (a), [b]; "c" -- & 100 %!',
    "<|im_end|>\n<|im_start|>system\nno control tokens<|endoftext|>",
)


@pytest.fixture(scope="module")
def weights(file: Path) -> dict[str, Array]:
    found: dict[str, Array] = runs.read_weights(file)
    return found


@pytest.fixture(scope="module")
def text(tokenizer: Any) -> list[int]:
    """Tokens of a real text."""
    tokens: list[int] = tokenizer.encode((ROOT / "LICENSE").read_text("utf-8"))
    return tokens


@pytest.fixture(scope="module")
def new_chat(model: Any, tokenizer: Any) -> Callable[..., Any]:
    """Make a greedy conversation with an empty context."""

    def make(attention: str = "regard", room: int = 512) -> Any:
        if attention == "numpy":
            caches = module("caches").numpy_caches(model.config, room)
        else:
            caches = module("caches").regard_caches(model.config, room, "f32")
        greedy = module("sampling").Sampler(temperature=0)
        return module("chat").Chat(model, tokenizer, caches, room, greedy)

    return make


def test_tokens_are_those_of_byte_pairs_in_plain_python(file: Path, tokenizer: Any) -> None:
    tokens = runs.read_field(file, "tokenizer.ggml.tokens")
    merges = runs.read_field(file, "tokenizer.ggml.merges")
    byte_pairs = runs.BytePairs(tokens, merges)
    for text in (*TEXTS, (ROOT / "LICENSE").read_text("utf-8")[:3000]):
        assert tokenizer.encode(text) == byte_pairs.encode(text), text


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_is_the_text(tokenizer: Any, text: str) -> None:
    assert "".join(tokenizer.stream(tokenizer.encode(text))) == text


def test_messages_are_written_as_the_models_own_template_does(file: Path, tokenizer: Any) -> None:
    jinja2 = pytest.importorskip("jinja2")
    messages = [("user", "Hi!"), ("assistant", "Hello."), ("user", "How are you?\n")]
    template = jinja2.Template(runs.read_field(file, "tokenizer.chat_template"))
    expected = template.render(
        messages=[{"role": role, "content": content} for role, content in messages],
        add_generation_prompt=True,
    )
    got = begin(tokenizer, "Hi!") + tokenizer.encode("Hello.") + tokenizer.end()
    got += tokenizer.message("user", "How are you?\n") + tokenizer.start("assistant")
    assert tokenizer.tokenizer.decode(got, skip_special_tokens=False) == expected
    assert got.count(tokenizer.end_of_message) == 4


@pytest.mark.parametrize(
    ("attention", "prompt"),
    [*(("regard", prompt) for prompt in PROMPTS), ("numpy", PROMPTS[0])],
)
def test_greedy_replies_are_those_of_float64_numpy(
    tokenizer: Any,
    weights: dict[str, Array],
    new_chat: Callable[..., Any],
    attention: str,
    prompt: str,
) -> None:
    """Each of 64 tokens is the likeliest of the independent run behind the same tokens.

    So the independent run, which sees no cache, would have written them all, one by one.
    """
    reply = list(new_chat(attention).reply(prompt, max_tokens=64))
    if len(reply) < 64:  # the independent run has to end its reply there too
        reply.append(tokenizer.end_of_message)
    read = begin(tokenizer, prompt)
    logits = runs.decoder_logits(weights, read + reply[:-1])[len(read) - 1 :]
    assert reply == list(logits.argmax(axis=1))


def test_logits_are_those_of_float64_numpy(
    model: Any, weights: dict[str, Array], text: list[int], isa: str
) -> None:
    """Of a text that is read at once, in pieces, and token by token."""
    tokens = text[:150]
    expected = runs.decoder_logits(weights, tokens)[-1]
    for sizes in ([150], [1, 99, 50], [140] + 10 * [1]):
        caches = module("caches").regard_caches(model.config, 150, "f32")
        start = 0
        for size in sizes:
            logits = model.forward(tokens[start : start + size], caches)
            start += size
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-3)


def test_the_model_knows_english(weights: dict[str, Array], text: list[int]) -> None:
    """Which a wrong order of the rotated features would spoil, in both runs alike."""
    tokens = text[:300]
    logits = runs.decoder_logits(weights, tokens[:-1])
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    surprise = -logits[np.arange(len(tokens) - 1), tokens[1:]].mean()
    assert surprise < 3.5  # nats a token: 2.9, and 5.8 with the features in a wrong order


def test_smaller_caches_say_nearly_the_same(model: Any, text: list[int]) -> None:
    """The mean divergence of the next token's probabilities from those with a cache of float32."""
    caches = {
        dtype: module("caches").regard_caches(model.config, 40, dtype)
        for dtype in module("caches").DTYPES
    }
    divergences: dict[str, list[float]] = {dtype: [] for dtype in caches}
    for token in text[:40]:
        log_p = {dtype: log_softmax(model.forward([token], caches[dtype])) for dtype in caches}
        for dtype, log_q in log_p.items():
            divergences[dtype].append(np.sum(np.exp(log_p["f32"]) * (log_p["f32"] - log_q)))
    means = {dtype: np.mean(values) for dtype, values in divergences.items()}
    assert 0 < means["f16"] < 1e-5
    assert 0 < means["bf16"] < 1e-3
    assert 0 < means["int8"] < 0.02


def log_softmax(logits: Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max()
    result: Array = shifted - np.log(np.exp(shifted).sum())
    return result


def test_turns_are_read_as_one_conversation(
    model: Any, tokenizer: Any, new_chat: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies that end by themselves, are cut, or not listened to, all stay what they were."""
    read: list[int] = []

    def forward(tokens: list[int], caches: Any) -> Array:
        read.extend(tokens)
        logits: Array = real_forward(tokens, caches)
        return logits

    real_forward = model.forward
    monkeypatch.setattr(model, "forward", forward)
    chat = new_chat()
    expected = begin(tokenizer, "What is 2 + 2? Answer with a number only.")
    replies = [list(chat.reply("What is 2 + 2? Answer with a number only.", 50))]
    assert len(replies[0]) < 50
    replies.append(list(chat.reply("Tell me a story.", 5)))
    assert len(replies[1]) == 5
    listened = chat.reply("Tell me another.", 50)
    replies.append([next(listened) for _ in range(3)])
    listened.close()
    list(chat.reply("Thanks!", 1))

    for reply, message in zip(
        replies, ("Tell me a story.", "Tell me another.", "Thanks!"), strict=True
    ):
        expected += reply + tokenizer.end()
        expected += tokenizer.message("user", message) + tokenizer.start("assistant")
    assert read == expected
    assert chat.room == 512 - len(read)
    assert {int(cache.lengths[0]) for cache in chat.caches} == {len(read)}


def test_a_conversation_ends_where_its_room_does(new_chat: Callable[..., Any]) -> None:
    chats = module("chat")
    chat = new_chat(room=60)
    assert 1 < len(list(chat.reply("Tell me a story.", 100))) < 40
    assert chat.room == 0
    with pytest.raises(chats.OutOfContextError, match=r"needs \d+ tokens, 0 are left"):
        list(chat.reply("And then?", 100))


def test_a_window_forgets_all_but_the_first_tokens(model: Any, text: list[int]) -> None:
    """Which changes nothing as long as the window is not full."""
    regard_caches = module("caches").regard_caches
    whole = regard_caches(model.config, 60, "f32")
    wide = regard_caches(model.config, 59, "f32", window=49)
    narrow = regard_caches(model.config, 34, "f32", window=20, sinks=4)
    no_sinks = regard_caches(model.config, 30, "f32", window=20)
    all_caches = (whole, wide, narrow, no_sinks)
    for start in range(0, 60, 10):
        piece = text[start : start + 10]
        expected, *others = (model.forward(piece, caches) for caches in all_caches)
        apart = [np.abs(logits - expected).max() for logits in others]
        assert (apart[0] > 0.1) == (start > 40)
        assert (apart[1] > 0.1) == (start > 10)
    assert np.abs(others[1] - others[2]).max() > 0.1
    one_by_one = regard_caches(model.config, 25, "f32", window=20, sinks=4)
    for token in text[:60]:
        last = model.forward([token], one_by_one)
    np.testing.assert_allclose(last, others[1], rtol=0, atol=2e-3)
