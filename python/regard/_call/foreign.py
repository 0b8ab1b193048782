"""What other libraries call things: advice for who comes from one of them."""

from __future__ import annotations

_PADDING = "key_mask=, with True for a token: what torch calls key_padding_mask is the inverse"
_LAYOUT = "layout='BSHD' says that arrays are (batch, tokens, heads, dim)"

#: By the keyword: what to write instead.
FOREIGN: dict[str, str] = {
    # PyTorch, Keras, JAX
    "is_causal": "causal='upper_left', which is causal=True for as many queries as keys",
    "use_causal_mask": "causal='upper_left', which is causal=True for as many queries as keys",
    "attn_mask": "mask= for bool, True = attend, and bias= for numbers that are added",
    "attention_mask": "key_mask= for the tokens of a batch (batch, keys), mask= for pairs",
    "key_padding_mask": _PADDING,
    "src_key_padding_mask": _PADDING,
    "padding_mask": "key_mask=, with True for a token",
    "dropout_p": "dropout=, with a seed=",
    "dropout_rate": "dropout=, with a seed=",
    "dropout_rng": "seed=, an integer",
    "enable_gqa": "nothing: fewer heads of key and value than of query are grouped-query attention",
    "need_weights": "regard.attention_weights, which is a function of its own",
    "return_attention_scores": "regard.attention_weights, which is a function of its own",
    "output_attentions": "regard.attention_weights, which is a function of its own",
    "mask_mod": "mask=regard.masks.from_function(...)",
    "block_mask": "mask=, which takes a regard.BlockMask",
    "query_seq_lengths": "query_lengths=",
    "key_value_seq_lengths": "key_lengths=",
    "local_window_size": "window=",
    "attn_bias": "bias=",
    # FlashAttention, FlashInfer, xformers
    "softmax_scale": "scale=",
    "sm_scale": "scale=",
    "scaling": "scale=",
    "window_size": "window=, with None in place of -1",
    "sliding_window": "window=(W - 1, 0) with causal=True, since W counts the token itself",
    "logits_soft_cap": "softcap=",
    "softcapping": "softcap=",
    "return_attn_probs": "return_lse=True, or regard.attention_weights",
    "return_softmax_lse": "return_lse=True",
    "deterministic": "nothing: results are always bitwise the same",
    "s_aux": "sinks=",
    "learnable_sink": "sinks=",
    "cache_seqlens": "key_lengths=",
    "max_seqlen_q": "nothing: regard.varlen_attention finds the longest piece itself",
    "max_seqlen_k": "nothing: regard.varlen_attention finds the longest piece itself",
    "q": "query=",
    "k": "key=",
    "v": "value=",
    # ONNX
    "seqlens_k": "key_lengths=, which is one more",
    "qk_matmul_output_mode": "stage of regard.attention_weights",
    "batch_first": _LAYOUT,
    "tensor_layout": _LAYOUT,
    "input_layout": _LAYOUT,
    "qkv_format": _LAYOUT,
}
