"""Two classifiers of texts: an encoder from scratch, and MiniLM, whose upper layers are tuned.

    tokens -> rows (total, features), packed -> encoder -> mean of each text -> linear -> 2 logits

A classifier has `parameters`, `rows(texts)` of what is not trained, and the loss with gradients by
what is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from regard import nn
from regard.nn.training import cross_entropy_vjp

from ..minilm.model import MiniLM

Array = NDArray[Any]
Parameters = dict[str, Array]


class Vocabulary:
    """Words and signs, or characters, that training texts have at least twice; 0 is any other."""

    def __init__(self, texts: Sequence[str], characters: bool) -> None:
        self.characters = characters
        counts = Counter(piece for text in texts for piece in self.pieces(text))
        often = sorted(piece for piece, count in counts.items() if count > 1)
        self.numbers = {piece: number for number, piece in enumerate(often, 1)}

    def pieces(self, text: str) -> list[str]:
        """Cut a text."""
        pattern = r"\S" if self.characters else r"\w+|[^\w\s]"
        return re.findall(pattern, text.lower())

    def encode(self, text: str) -> Array:
        """Numbers of the pieces; a text without any is one unknown piece."""
        found = [self.numbers.get(piece, 0) for piece in self.pieces(text)]
        return np.array(found or [0])

    def __len__(self) -> int:
        return 1 + len(self.numbers)


class Classifier:
    """An encoder over packed rows, and a linear layer over the mean of each text.

    Parameters
    ----------
    encoder : TransformerEncoder
    settings : dict
        What it was made with besides its arrays.
    seed : int
        For the linear layer.
    dropout : float
        Share of the mean's features that are left out in training.
    """

    def __init__(
        self, encoder: nn.TransformerEncoder, settings: dict[str, Any], seed: int, dropout: float
    ) -> None:
        self.settings, self.dropout = settings, nn.Dropout(dropout)
        rng = np.random.default_rng([seed, 3])
        features = encoder.layers[0].norm1.weight.shape[0]
        self.parameters: Parameters = {
            **{f"encoder.{name}": x for name, x in encoder.state_dict().items()},
            "head.weight": (0.02 * rng.standard_normal((2, features))).astype(np.float32),
            "head.bias": np.zeros(2, np.float32),
        }

    def rows(self, texts: Sequence[Any]) -> tuple[Array, Array]:
        """Make what the encoder is given of texts, packed: rows, and their offsets."""
        raise NotImplementedError

    def layers(self, parameters: Parameters) -> tuple[nn.TransformerEncoder, nn.Linear]:
        """Make the layers of their parameters."""
        own: dict[str, Parameters] = {"encoder": {}, "head": {}}
        for name, x in parameters.items():
            part, _, rest = name.partition(".")
            own.setdefault(part, {})[rest] = x
        encoder = nn.TransformerEncoder.from_state_dict(own["encoder"], **self.settings)
        return encoder, nn.Linear.from_state_dict(own["head"])

    def logits(self, parameters: Parameters, texts: Sequence[Any]) -> Array:
        """Compute logits: (texts, 2)."""
        encoder, head = self.layers(parameters)
        rows, offsets = self.rows(texts)
        x = encoder(self.look_up(parameters, rows), offsets=offsets)
        means = np.add.reduceat(x, offsets[:-1]) / np.diff(offsets)[:, None].astype(x.dtype)
        return head(means)

    def look_up(self, parameters: Parameters, rows: Array) -> Array:
        """Rows of the encoder: what was given, unless words are looked up in a trained table."""
        return rows

    def gradients(
        self, parameters: Parameters, texts: Sequence[Any], classes: Array, seed: int
    ) -> tuple[float, Parameters]:
        """Mean loss of texts, and its derivative by each parameter."""
        encoder, head = self.layers(parameters)
        rows, offsets = self.rows(texts)
        lengths = np.diff(offsets)
        x, back_encoder = encoder.vjp(self.look_up(parameters, rows), offsets=offsets, seed=seed)
        means = np.add.reduceat(x, offsets[:-1]) / lengths[:, None].astype(x.dtype)
        dropped, back_dropout = self.dropout.vjp(means, seed=seed)
        logits, back_head = head.vjp(dropped)
        loss, back_loss = cross_entropy_vjp(logits, classes, label_smoothing=0.1)
        by_head = back_head(back_loss())
        dmeans = back_dropout(by_head.x).x / lengths[:, None].astype(x.dtype)
        by_encoder = back_encoder(np.repeat(dmeans, lengths, axis=0))
        gradients = {f"encoder.{name}": g for name, g in by_encoder.parameters.items()}
        gradients |= {f"head.{name}": g for name, g in by_head.parameters.items()}
        return loss, gradients | self.by_table(parameters, rows, by_encoder.x)

    def by_table(self, parameters: Parameters, rows: Array, dx: Array) -> Parameters:
        """Differentiate by the table of words, where it is trained."""
        return {}


class Scratch(Classifier):
    """Two small layers over words or characters, with random weights and ALiBi's distances."""

    def __init__(self, texts: Sequence[str], characters: bool, seed: int) -> None:
        self.vocabulary = Vocabulary(texts, characters)
        slopes = np.asarray(regard.alibi_slopes(4), np.float32)
        settings = {
            "num_heads": 4, "activation": "gelu", "norm_first": True, "dropout": 0.2,
            "options": {"alibi_slopes": slopes},
        }  # fmt: skip
        encoder = nn.TransformerEncoder.random(seed, layers=2, features=64, hidden=128, **settings)
        super().__init__(encoder, settings, seed, 0.3)
        table = np.random.default_rng([seed, 4]).standard_normal((len(self.vocabulary), 64))
        self.parameters["words.weight"] = (0.1 * table).astype(np.float32)

    def rows(self, texts: Sequence[str]) -> tuple[Array, Array]:
        """Numbers of words."""
        return nn.pack([self.vocabulary.encode(text) for text in texts])

    def look_up(self, parameters: Parameters, rows: Array) -> Array:
        """Look words up."""
        return nn.Embedding(parameters["words.weight"])(rows)

    def by_table(self, parameters: Parameters, rows: Array, dx: Array) -> Parameters:
        """Sum the derivatives of each word."""
        _, back = nn.Embedding(parameters["words.weight"]).vjp(rows)
        return {"words.weight": back(dx).parameters["weight"]}


class Tuned(Classifier):
    """MiniLM, of which the last layers are trained, and the others compute what they are given.

    Parameters
    ----------
    folder : Path
        With `model.safetensors` and `vocab.txt`.
    layers : int
        How many are trained.
    seed : int
    """

    def __init__(self, folder: Path, layers: int, seed: int) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.model = MiniLM(folder / "model.safetensors")
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self.tokenizer.enable_truncation(256)
        of_model = self.model.encoder.layers
        cut = len(of_model) - layers
        self.fixed = nn.TransformerEncoder(of_model[:cut])
        settings = {"num_heads": 12, "activation": "gelu", "eps": 1e-12, "dropout": 0.1}
        super().__init__(nn.TransformerEncoder(of_model[cut:]), settings, seed, 0.1)

    def prepare(self, texts: Sequence[str], batch: int = 64) -> list[Array]:
        """Let texts through the layers that are fixed, once for all epochs: rows of each."""
        prepared: list[Array] = []
        for at in range(0, len(texts), batch):
            encodings = self.tokenizer.encode_batch(list(texts[at : at + batch]))
            x, offsets = self.model.embed([encoding.ids for encoding in encodings])
            prepared += nn.unpack(self.fixed(x, offsets=offsets), offsets)
        return prepared

    def rows(self, texts: Sequence[Array]) -> tuple[Array, Array]:
        """Put texts that are prepared behind one another."""
        return nn.pack(texts)
