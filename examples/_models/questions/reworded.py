"""Fifty questions of chatterbot-corpus 1.3.3 in other words, which are ours.

They are the first fifty that a generator of seed 0 drew from those of at least four words, none
left out, and were reworded before anything was searched; that other words were looked for is hard
on TF-IDF. The corpus' own words are read from the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

CHECKSUM = 1536698458  # of the fifty questions, one a line
REWORDED = (
    "In which place were you born?",
    "On what heavenly body can I find the Tranquil Sea?",
    "Write me some Python that reads comma separated files.",
    "In what way would I make use of what you sell?",
    "Are you familiar with HAL?",
    "Name the biggest of the lizards.",
    "Are you ever angry?",
    "Which nation is governed from Port-au-Prince?",
    "I am so glad that we meet.",
    "Show me how a function is handed over and called later in Python.",
    "There is a piece of work that I am busy with.",
    "I can't get online.",
    "What is the distance between us and our star?",
    "I need Python code that tells whether a number has no divisors.",
    "Show me a pattern match on strings in JS.",
    "In JavaScript, how do I test if a word reads the same backwards?",
    "Being in sunlight lets our body make which vitamin?",
    "In 1903 a Nobel Prize first went to a female scientist. Who?",
    "Where was the very first Starbucks coffee shop?",
    "Have you heard any rumours?",
    "In which year did the conflict of the USA and the Soviet Union come to its end?",
    "You ought to have more of that.",
    "Give me JS code that finds out if an integer is prime.",
    "What is HAL, in your opinion?",
    "A glass of red is what I enjoy. And you?",
    "Five weapons of the board game Clue are a candlestick, a pipe, a knife, a gun and a rope. "
    "Which is the sixth?",
    "How does it feel to be a machine?",
    "Is there anybody you can't stand?",
    "Write code for the sequence 1, 1, 2, 3, 5, 8.",
    "Which hue does the drink absinthe have?",
    "How are plums called after they have been dried?",
    "Implement DFS on a graph, in Python.",
    "Are you a player of hoops?",
    "Of which chemical element is there the most in space?",
    "Give me an example of yield in JS.",
    "Show me a Python function that wraps another one with an @ sign.",
    "Which land sells its camels to the Saudis?",
    "Take it easy, relax a little.",
    "Are you unhappy because of that?",
    "What did Shakespeare write for the stage that has the most lines?",
    "Who is rated on the Apgar scale?",
    "What do the Japanese brew sake of?",
    "Who is the author of the book about Bilbo Baggins?",
    "At what time is your life going to end?",
    "Explain the term ratchet jaw.",
    "Count the stripes of the US banner that are red.",
    "How do Jews call the first day of their year?",
    "Between which pair of nations is the frontier that is longer than all others?",
    "What could one buy from the earliest coin-operated machine?",
    "Where does most of the world's vanilla grow?",
)


def reworded(questions: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each of the `REWORDED` with the question that it stands for.

    Parameters
    ----------
    questions : sequence of str
        All of the corpus.

    Raises
    ------
    SystemExit
        They are those of another version.
    """
    long = [question for question in questions if len(question.split()) >= 4]
    order = np.random.default_rng(0).permutation(len(long))[: len(REWORDED)]
    drawn = [long[number] for number in order]
    if crc32("\n".join(drawn).encode()) != CHECKSUM:
        raise SystemExit("The questions are not those of chatterbot-corpus 1.3.3.")
    return list(zip(REWORDED, drawn, strict=True))
