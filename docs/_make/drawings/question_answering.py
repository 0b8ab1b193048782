"""The gallery's page of question answering: what a head reads, and how many answers are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "Questions, and the facts that answer them"
ARGUMENTS = (
    "--weights", "build/questions", "--figures", "examples/figures/question_answering.json",
)  # fmt: skip
WORDS = (
    "Made-up stories in the manner of bAbI's first three tasks, where an answer follows from one, "
    "two or three sentences. All six layers of MiniLM are trained by `regard.nn` to point at the "
    "answer and to mark the facts. SmolLM2, with three solved stories in front and "
    "nothing trained, writes its reply; the beginning that questions share is read once, and "
    "`KVCache.fork` copies it. And questions of chatterbot-corpus are looked up by MiniLM as it "
    "is; fifty of them in other words, chosen to share few words with the corpus."
)
CAPTION = (
    "What the question reads of three held-out stories, by the head that goes to the facts most: "
    "a row is a token of the question, a column a sentence, and facts are framed. By "
    "`MultiHeadAttention.weights`."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the attention of the run's own weights."""
    import question_answering as example
    from _models.questions import attention

    root = Path(example.__file__).resolve().parents[1]
    arguments = example.parse(["--weights", str(root / ARGUMENTS[1])])
    model, parameters = example.extractor(arguments)
    asked = [example.held_out(task, arguments) for task in example.TASKS]
    head = attention.best_head(model, parameters, asked)
    return lambda ink: attention.plot(model, parameters, [a[0] for a in asked], head)
