"""Replies of SmolLM2 to questions about a passage, greedily, after three that are solved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from _models.smollm2.caches import regard_caches
from _models.smollm2.model import Model
from _models.smollm2.tokenizer import ChatTokenizer

from .stories import Story

SYSTEM = "Read the story and answer the question with the name of the place, in one word."
ROOM = 1024  # tokens of a conversation
MOST = 8  # tokens of a reply


class Reader:
    """The model, with a beginning that questions share: it is read once.

    Parameters
    ----------
    model : Model
    tokenizer : ChatTokenizer
    """

    def __init__(self, model: Model, tokenizer: ChatTokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.caches: list[Any] = []

    def begin(self, solved: Sequence[Story]) -> None:
        """Read what to do, and stories with their answers."""
        tokens = self.tokenizer.message("system", SYSTEM)
        for story in solved:
            tokens += self.tokenizer.message("user", asked(story))
            tokens += self.tokenizer.message("assistant", f"{story.answer.capitalize()}.")
        self.caches = list(regard_caches(self.model.config, ROOM, "f32"))
        self.model.forward(tokens, self.caches)

    def __call__(self, story: Story) -> str:
        """Reply to a question, behind the beginning alone."""
        caches = [cache.fork() for cache in self.caches]
        tokens = self.tokenizer.message("user", asked(story)) + self.tokenizer.start("assistant")
        reply: list[int] = []
        while len(reply) < MOST:
            token = int(np.argmax(self.model.forward(tokens, caches)))
            if token in (self.tokenizer.end_of_message, self.tokenizer.end_of_text):
                break
            reply.append(token)
            tokens = [token]
        return "".join(self.tokenizer.stream(reply))


def asked(story: Story) -> str:
    """Write a story and its question in a message."""
    return f"Story: {story.passage}\nQuestion: {story.question}"
