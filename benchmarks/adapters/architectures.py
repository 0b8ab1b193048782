"""Small models of every architecture of transformers, with random weights, and inputs for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

VOCABULARY = 99
LENGTH = 20
BATCH = 3

#: What a small model has, by the names that configurations use.
SMALL: dict[str, int] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "embed_dim", "dim", "emb_dim", "embedding_size"), 64
    ),
    **dict.fromkeys(("embedding_dim", "encoder_hidden_size", "decoder_hidden_size"), 64),
    **dict.fromkeys(("hidden_dim", "intermediate_size", "ffn_dim", "d_ff", "mlp_dim"), 96),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "decoder_intermediate_size"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_num_layers", "decoder_num_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("decoder_num_hidden_layers", "encoder_num_hidden_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_num_attention_heads", "decoder_num_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "swa_num_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "swa_head_dim", "attention_head_dim"), 16),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "top_k_experts", "moe_top_k"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    **dict.fromkeys(("q_lora_rank", "o_lora_rank"), 32),
    **dict.fromkeys(("kv_lora_rank", "index_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 8),
    **dict.fromkeys(("v_head_dim", "index_topk"), 12),
    **dict.fromkeys(("sliding_window", "local_attention", "sliding_window_size"), 6),
    **dict.fromkeys(("attention_chunk_size",), 8),
    "rotary_dim": 8,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "swa_num_attention_heads": 4,
    "index_n_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "num_mel_bins": 16,
    "max_source_positions": 32,
    "max_target_positions": 64,
    "hidden_size_per_layer_input": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

#: What single architectures need beside that.
EXTRA: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "esm": {"vocab_size": VOCABULARY},
    "esmc": {"num_key_value_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "luke": {"entity_vocab_size": 20},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
}

#: The first that has an architecture counts: BART has a decoder alone too, and BERT can be one.
_HEADS = {
    "encoder-decoder": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "encoder": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "decoder": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
}
_BASES = "MODEL_MAPPING_NAMES"
LARGEST = 30_000_000  # parameters: what does not become small is not tried


@dataclass(frozen=True)
class Architecture:
    """A kind of model, and the class that is tried.

    Attributes
    ----------
    name : str
        ``config.model_type``.
    role : str
        decoder, encoder-decoder, encoder, or base: whatever else has a model class.
    class_name : str
    """

    name: str
    role: str
    class_name: str

    def model_class(self) -> type[PreTrainedModel]:
        """Find the class in transformers."""
        found: type[PreTrainedModel] = getattr(transformers, self.class_name)
        return found

    def config(self) -> PretrainedConfig:
        """Make a small configuration."""
        make = CONFIG_MAPPING[self.name]
        config = make(**{**small(make()), **EXTRA.get(self.name, {})})
        # As AutoModelForCausalLM does with models of text and something else.
        text = self.role == "decoder" and self.model_class().config_class is not type(config)
        return config.get_text_config() if text else config

    def build(self, seed: int = 0) -> PreTrainedModel:
        """Make the model with random weights, in evaluation mode, on eager attention.

        Raises
        ------
        Exception
            Whatever the model's own code raises where the small configuration does not suit it.
        ValueError
            It has too many parameters even so.
        """
        config = self.config()
        config._attn_implementation = "eager"
        with torch.device("meta"):
            size = sum(p.numel() for p in self.model_class()(config).parameters())
        if size > LARGEST:
            raise ValueError(f"{size:,} parameters")
        config = self.config()
        config._attn_implementation = "eager"
        torch.manual_seed(seed)
        model = self.model_class()(config).float().eval()
        _spread(model, seed)
        return model


def _spread(model: PreTrainedModel, seed: int) -> None:
    """Weights large enough that attention looks somewhere, and that tokens are no near ties."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim >= 2 and p.numel() > 1 and p.is_floating_point() and p.std() < 0.1:
                p.normal_(0, 0.15, generator=generator)
            elif name.rsplit(".", 1)[-1] in ("sinks", "attention_sink_bias"):
                p.normal_(0, 1, generator=generator)


def architectures() -> list[Architecture]:
    """All that the installed transformers has, by name."""
    found: dict[str, Architecture] = {}
    for role, mapping in (*_HEADS.items(), ("base", _BASES)):
        for name, classes in getattr(modeling_auto, mapping).items():
            class_name = classes if isinstance(classes, str) else classes[0]
            if name in CONFIG_MAPPING:
                found.setdefault(name, Architecture(name, role, class_name))
    return [found[name] for name in sorted(found)]


def small(config: PretrainedConfig) -> dict[str, Any]:
    """Arguments for a configuration like `config`, but small; sub-configurations included."""
    arguments: dict[str, Any] = {}
    for name, size in SMALL.items():
        there = _value(config, name)
        if isinstance(getattr(type(config), name, None), property):
            continue  # what follows from something else
        if isinstance(there, int) and not isinstance(there, bool):
            arguments[name] = size if name.endswith("_id") else min(size, there) or there
        elif there is None and name.endswith(("token_id", "_heads", "head_dim")):
            arguments[name] = size
    if sizes := _listed(config, "image_size"):
        arguments["image_size"] = [SMALL["image_size"]] * len(sizes)
    if "qk_rope_head_dim" in arguments:  # latent keys
        latent = {"head_dim": SMALL["qk_rope_head_dim"], "num_key_value_heads": 4}
        arguments |= {name: size for name, size in latent.items() if name in arguments}
    kinds = list(dict.fromkeys(_listed(config, "layer_types")))
    derived = isinstance(getattr(type(config), "layer_types", None), property)
    if len(kinds) > 1 and not derived:  # one layer of each kind
        arguments["layer_types"] = kinds
        arguments["num_hidden_layers"] = len(kinds)
    for name in getattr(config, "sub_configs", {}):
        part = getattr(config, name, None)
        if isinstance(part, PretrainedConfig):
            arguments[name] = {**small(part), "model_type": part.model_type}
    return arguments


_MISSING = object()


def _value(config: PretrainedConfig, name: str) -> Any:
    """Look up an attribute, if it is one of the model as a whole."""
    try:
        return getattr(config, name, _MISSING)
    except Exception:  # one that differs from layer to layer
        return _MISSING


def _listed(config: PretrainedConfig, name: str) -> list[Any]:
    there = _value(config, name)
    return list(there) if isinstance(there, (list, tuple)) else []


def inputs_of(model: PreTrainedModel) -> dict[str, torch.Tensor] | None:
    """Make a batch without padding; None if the model's main input is none that is known."""
    generator = torch.Generator().manual_seed(2)
    name = model.main_input_name
    if name == "input_ids":
        ids = torch.randint(5, VOCABULARY, (BATCH, LENGTH), generator=generator)
        return {"input_ids": ids}
    if name == "pixel_values":
        size = getattr(model.config, "image_size", 32)
        size = (size, size) if isinstance(size, int) else tuple(size)
        channels = getattr(model.config, "num_channels", 3)
        return {"pixel_values": torch.randn(BATCH, channels, *size, generator=generator)}
    if name == "input_features":
        bins = getattr(model.config, "num_mel_bins", 16)
        length = 2 * getattr(model.config, "max_source_positions", 32)
        return {"input_features": torch.randn(BATCH, bins, length, generator=generator)}
    if name == "input_values":
        return {"input_values": torch.randn(BATCH, 4000, generator=generator)}
    return None
