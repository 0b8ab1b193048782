"""The gallery's picture of speech: which piece of the sound each word was heard in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

TITLE = "Speech that is written down"
ARGUMENTS = ("--engine",)
WORDS = (
    "Whisper tiny.en: an encoder over 30 seconds of sound, and a decoder that attends to what the "
    "encoder made of them. Keys and values of the words so far are in one `regard.KVCache` a "
    "layer, those of the sound in another, which is filled once. With the same weights CTranslate2 "
    "writes the same tokens. PocketSphinx, from before neural networks, had a grammar of what can "
    "be said for the cards, so that it wins there, and loses on the novel."
)
CAPTION = (
    "Above: power in 80 bands, 80 dB from black to white. Below: weights of the heads that follow "
    "the sound (roots; the mean of eight heads), by `MultiHeadAttention.weights`, a row for each "
    "token that was written."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Features of a recording, and the cross-attention of what was heard."""
    import speech as example
    from _models.whisper.recordings import recordings

    recording = recordings()[2]
    names, weights, features = example.alignment(recording.file)
    seconds = recording.file.stat().st_size / 32000  # 16,000 samples of 2 bytes each
    weights = np.sqrt(weights[:, : int(50 * seconds)])
    features = features[:, : int(100 * seconds)]

    def picture(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 5.4), layout="constrained")
        sound, words = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        limits = (0.0, seconds)
        sound.imshow(
            features, aspect="auto", origin="lower", cmap="magma", extent=(*limits, 0, 80),
            interpolation="nearest",
        )  # fmt: skip
        sound.set_ylabel("band")
        words.imshow(
            weights, aspect="auto", cmap="magma", extent=(*limits, len(names), 0),
            interpolation="nearest",
        )  # fmt: skip
        words.set_yticks(np.arange(len(names)) + 0.5, [name.strip() for name in names])
        words.tick_params(axis="y", length=0)
        words.set_xlabel("seconds")
        return figure

    return picture
