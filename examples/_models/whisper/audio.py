"""Sound to log-mel features: power of each frame in 80 bands, as Whisper was trained on.

A frame is 25 ms under Hann's window, there is one every 10 ms, and a piece is 30 s long.
"""

from __future__ import annotations

import wave
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RATE, WINDOW, HOP, BANDS = 16000, 400, 160, 80
PIECE = 30 * RATE


def read_wav(file: Path) -> Array:
    """Read a mono WAV file of 16 bits and 16 kHz: (samples,) from -1 to 1, float32.

    Raises
    ------
    SystemExit
        It is no such file.
    """
    try:
        with wave.open(str(file), "rb") as sound:
            kind = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
            data = sound.readframes(sound.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise SystemExit(f"cannot read {file}: {error}") from error
    if kind != (1, 2, RATE):
        raise SystemExit(
            f"{file} has {kind[0]} channels of {8 * kind[1]} bits and {kind[2]} Hz: "
            f"give a mono WAV file of 16 bits and {RATE} Hz"
        )
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def pieces(samples: Array) -> list[Array]:
    """Cut sound into pieces of 30 s, the last with silence behind it: each (480000,)."""
    count = max(1, -(-len(samples) // PIECE))
    padded = np.zeros(count * PIECE, np.float32)
    padded[: len(samples)] = samples
    return list(padded.reshape(count, PIECE))


def log_mel(samples: Array) -> Array:
    """Compute the features of a piece: (480000,) -> (80, 3000), float32."""
    around = np.pad(samples, WINDOW // 2, mode="reflect")  # frame n is centred on sample 160 n
    frames = np.lib.stride_tricks.sliding_window_view(around, WINDOW)[::HOP][:-1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    logs = np.log10(np.maximum(mel_filters() @ power.T, 1e-10))
    loud = np.maximum(logs, logs.max() - 8)  # what is 80 dB below the loudest is silence
    features: Array = ((loud + 4) / 4).astype(np.float32)
    return features


@lru_cache(maxsize=1)
def mel_filters() -> Array:
    """Weights of the frequencies in each band: (80, 201).

    Bands are triangles, as wide as their neighbours are far away, of one area; their centres are at
    equal distances in Slaney's mel: linear up to 1000 Hz, logarithmic above.
    """
    linear, step = 200 / 3, np.log(6.4) / 27
    highest = 15 + np.log(RATE / 2 / 1000) / step
    mels = np.linspace(0, highest, BANDS + 2)
    edges = np.where(mels < 15, linear * mels, 1000 * np.exp(step * (mels - 15)))
    hertz = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    filters: Array = np.maximum(0, np.minimum(rising, falling))
    return filters * (2 / (edges[2:] - edges[:-2]))[:, None]
