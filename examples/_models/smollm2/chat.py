"""A conversation: messages go in, the model's replies come out token by token."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from _models.smollm2.model import Array, Cache, Model
from _models.smollm2.sampling import Sampler
from _models.smollm2.tokenizer import ChatTokenizer

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # as in training

# Long texts are read in pieces, which keeps the intermediate arrays small and costs no speed.
PIECE = 1024


class OutOfContextError(Exception):
    """There is no room left in the caches."""


@dataclass
class Work:
    """What one phase, reading or writing, has done."""

    tokens: int = 0
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds if self.tokens else 0.0


class Chat:
    """A conversation of several turns, which are all kept in the caches.

    Parameters
    ----------
    model : Model
    tokenizer : ChatTokenizer
    caches : sequence of Cache
        Empty ones, one for each layer.
    room : int
        How many tokens fit into the caches.
    sampler : Sampler
    system : str
        What the model is told about its part.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: ChatTokenizer,
        caches: Sequence[Cache],
        room: int,
        sampler: Sampler,
        system: str = SYSTEM,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.caches = caches
        self.room = room
        self.sampler = sampler
        self.unread = tokenizer.message("system", system)
        self.reading = Work()
        self.writing = Work()

    def reply(self, message: str, max_tokens: int) -> Iterator[int]:
        """Read a message, then yield the tokens of the reply, until the model ends it.

        Raises
        ------
        OutOfContextError
            The message does not fit. Nothing has been read.
        """
        prompt = [
            *self.unread,
            *self.tokenizer.message("user", message),
            *self.tokenizer.start("assistant"),
        ]
        if len(prompt) >= self.room:
            raise OutOfContextError(
                f"The message needs {len(prompt)} tokens, {self.room} are left."
            )
        self.reading, self.writing = Work(), Work()
        logits = self.read(prompt, self.reading)
        self.unread = self.tokenizer.end()
        for number in range(1, max_tokens + 1):
            start = time.perf_counter()
            token = self.sampler(logits)
            self.writing.seconds += time.perf_counter() - start
            if token in (self.tokenizer.end_of_message, self.tokenizer.end_of_text):
                return
            # This one has not been read yet, should the reply end here.
            self.unread = [token, *self.tokenizer.end()]
            yield token
            if number == max_tokens or self.room == 0:
                return
            logits = self.read([token], self.writing)
            self.unread = self.tokenizer.end()

    def read(self, tokens: Sequence[int], work: Work) -> Array:
        """Put tokens into the caches and return the logits of the next one, keeping time."""
        before = dict(self.model.stopwatch.seconds)
        start = time.perf_counter()
        pieces = [tokens[i : i + PIECE] for i in range(0, len(tokens), PIECE)]
        for piece in tqdm(pieces, "reading", leave=False, disable=len(pieces) < 2 or None):
            logits = self.model.forward(piece, self.caches)
        self.room -= len(tokens)
        work.tokens += len(tokens)
        work.seconds += time.perf_counter() - start
        for part, seconds in self.model.stopwatch.seconds.items():
            work.parts[part] = work.parts.get(part, 0.0) + seconds - before.get(part, 0.0)
        return logits
