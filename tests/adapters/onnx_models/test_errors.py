"""What does not fit is refused in the operator's name, naming input or attribute."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_nodes import MICROSOFT, node, ours


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def ints(*numbers):
    return np.array(numbers, np.int32)


X4 = zeros(2, 4, 5, 8)
STANDARD = {"Q": X4, "K": X4, "V": X4}
PAST = zeros(2, 4, 3, 8)
ATTENTION = {
    "Q": {"Q": zeros(2, 8)},
    "K of other axes": ("K", {"K": zeros(2, 5, 32)}),
    "K of another dim": ("K", {"K": zeros(2, 4, 5, 9)}),
    "K of another type": ("K", {"K": X4.astype(np.float16)}),
    "K of heads": ("multiple", {"K": zeros(2, 3, 5, 8), "V": zeros(2, 3, 5, 8)}),
    "V of another length": ("V", {"V": zeros(2, 4, 6, 8)}),
    "V of ints": ("V", {"V": X4.astype(np.int64)}),
    "attn_mask": {"attn_mask": zeros(3, 5)},
    "attn_mask too long": ("attn_mask", {"attn_mask": zeros(5, 6)}),
    "past_key": {"past_key": PAST},
    "past_value": {"past_key": PAST, "past_value": zeros(2, 4, 2, 8)},
    "past_key of heads": ("past_key", {"past_key": zeros(2, 2, 3, 8), "past_value": PAST}),
    "nonpad_kv_seqlen": {"nonpad_kv_seqlen": np.array([5, 6])},
    "nonpad_kv_seqlen < 0": ("nonpad_kv_seqlen", {"nonpad_kv_seqlen": np.array([5, -1])}),
    "nonpad_kv_seqlen of one": ("nonpad_kv_seqlen", {"nonpad_kv_seqlen": np.array([5])}),
    "nonpad_kv_seqlen and past": (
        "nonpad_kv_seqlen",
        {"past_key": PAST, "past_value": PAST, "nonpad_kv_seqlen": np.array([5, 5])},
    ),
    "q_num_heads": {"q_num_heads": 4},
    "q_num_heads missing": ("q_num_heads", dict.fromkeys("QKV", zeros(2, 5, 32))),
    "q_num_heads of hidden": (
        "q_num_heads",
        {**dict.fromkeys("QKV", zeros(2, 5, 32)), "q_num_heads": 5, "kv_num_heads": 4},
    ),
    "qk_matmul_output_mode": {"qk_matmul_output_mode": 4},
    "softmax_precision": {"softmax_precision": 7},
    "softcap": {"softcap": -1.0},
    "left_window_size": {"left_window_size": -2},
    "right_window_size": {"right_window_size": -2},
    "colour": {"colour": 1},
}

X3 = zeros(2, 5, 32)
SELF = {"query": X3, "key": X3, "value": X3}
HEADS = {"num_heads": 4}
MULTIHEAD = {
    "num_heads": {"num_heads": 5},
    "num_heads missing": ("num_heads", {"num_heads": None}),
    "key": {"key": None, "value": None},
    "key of another width": ("key", {"key": zeros(2, 5, 36)}),
    "value": {"value": None},
    "value beside packed": ("value", {"query": zeros(2, 5, 4, 3, 8)}),
    "value beside packed key": ("value", {"key": zeros(2, 5, 4, 2, 8)}),
    "bias": {"bias": zeros(95)},
    "key_padding_mask": {"key_padding_mask": np.ones((2, 4), np.int32)},
    "key_padding_mask of floats": ("key_padding_mask", {"key_padding_mask": zeros(2, 5)}),
    "attention_bias": {"attention_bias": zeros(2, 3, 5, 5)},
    "attention_bias of a row": ("attention_bias", {"attention_bias": zeros(2, 4, 1, 5)}),
    "past_key": {"past_value": PAST},
    "past_sequence_length": {"past_sequence_length": ints(1)},
    "past_sequence_length of all": (
        "past_sequence_length",
        {"past_key": PAST, "past_value": PAST, "past_sequence_length": ints(1)},
    ),
    "cache_indirection": {"cache_indirection": np.zeros((2, 1, 9), np.int32)},
    "colour": {"colour": 1},
}

GROUPED = {
    "kv_num_heads": {"kv_num_heads": 3},
    "key": {"key": zeros(2, 5, 32)},
    "key alone": ("value", {"value": None}),
    "past_key": {"past_key": zeros(2, 4, 3, 8), "past_value": zeros(2, 4, 3, 8)},
    "past_value": {"past_key": zeros(2, 2, 3, 8)},
    "seqlens_k": {"seqlens_k": ints(4, 5)},
    "seqlens_k < 0": ("seqlens_k", {"seqlens_k": ints(-1, 4)}),
    "seqlens_k of three": ("seqlens_k", {"seqlens_k": ints(4, 4, 4)}),
    "seqlens_k of a past that is not there": (
        "seqlens_k",
        {"past_key": zeros(2, 2, 3, 8), "past_value": zeros(2, 2, 3, 8),
         "total_sequence_length": ints(9), "seqlens_k": ints(8, 8)},
    ),
    "total_sequence_length": {"total_sequence_length": ints(4)},
    "total_sequence_length of two": (
        "total_sequence_length", {"total_sequence_length": ints(5, 5)},
    ),
    "cos_cache": {"do_rotary": 1},
    "cos_cache too short": (
        "position_ids", {"do_rotary": 1, "cos_cache": zeros(4, 4), "sin_cache": zeros(4, 4)},
    ),
    "sin_cache": {"do_rotary": 1, "cos_cache": zeros(9, 4), "sin_cache": zeros(9, 3)},
    "attention_bias": {"attention_bias": zeros(1, 1, 5, 6)},
    "head_sink": {"head_sink": zeros(3)},
    "k_scale": {"k_scale": zeros(1)},
    "q_norm_weight": {"q_norm_weight": zeros(8)},
    "k_quant_type": {"k_quant_type": "PER_TENSOR"},
    "kv_cache_bit_width": {"kv_cache_bit_width": 8},
    "sliding_window_cache": {"sliding_window_cache": 1, "local_window_size": 3},
    "local_window_size": {"local_window_size": 0},
    "local_window_size both ways": ("local_window_size", {"local_window_size": 3, "causal": 0}),
    "softcap": {"softcap": -1.0},
    "qk_output": {"qk_output": 3},
    "causal": {"causal": 2},
}  # fmt: skip

WHOLE = {"input": zeros(2, 5, 6), "weights": zeros(6, 96)}
MERGED = {
    "weights": {"weights": zeros(7, 96)},
    "qkv_hidden_sizes": {"qkv_hidden_sizes": [32, 32, 33]},
    "qkv_hidden_sizes of heads": ("num_heads", {"weights": zeros(6, 90)}),
    "bias": {"bias": zeros(95)},
    "mask_index": {"mask_index": np.ones((2, 6), np.int32)},
    "past": {"past": zeros(2, 2, 4, 3, 9)},
    "past_present_share_buffer": {"past_present_share_buffer": 1},
    "past_sequence_length": {"past_sequence_length": ints(1)},
    "past of two widths": (
        "present", {"qkv_hidden_sizes": [32, 32, 16], "weights": zeros(6, 80),
                    "past": zeros(2, 2, 4, 3, 8)},
    ),
    "attention_bias": {"attention_bias": zeros(5, 5)},
}  # fmt: skip

TABLE = zeros(9, 4)
ROTATED = {"X": X4, "cos_cache": TABLE, "sin_cache": TABLE,
           "position_ids": np.zeros((2, 5), np.int64)}  # fmt: skip
ROTARY = {
    "X": {"X": zeros(2, 8)},
    "num_heads": {"X": X3},
    "cos_cache": {"cos_cache": zeros(9, 3)},
    "sin_cache": {"sin_cache": zeros(8, 4)},
    "cos_cache of rows": ("cos_cache", {"position_ids": None}),
    "position_ids": {"position_ids": np.full((2, 5), 9)},
    "position_ids < 0": ("position_ids", {"position_ids": np.full((2, 5), -1)}),
    "position_ids of one": ("position_ids", {"position_ids": np.zeros(1, np.int64)}),
    "rotary_embedding_dim": {"rotary_embedding_dim": 10},
    "rotary_embedding_dim odd": ("rotary_embedding_dim", {"rotary_embedding_dim": 3}),
    "interleaved": {"interleaved": 2},
}
TURNED = {"input": X4, "position_ids": np.zeros((2, 5), np.int64), "cos_cache": TABLE,
          "sin_cache": TABLE}  # fmt: skip

GQA = {
    "query": X3, "key": zeros(2, 5, 16), "value": zeros(2, 5, 16), "past_key": None,
    "past_value": None, "seqlens_k": ints(4, 4), "total_sequence_length": ints(5),
}  # fmt: skip
# What each operator is called with, its attributes and further inputs, and what is wrong.
OPERATORS = {
    "Attention": (STANDARD, {}, ["attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"],
                  ATTENTION),
    "RotaryEmbedding": (ROTATED, {}, [], ROTARY),
    "com.microsoft.MultiHeadAttention": (
        SELF, HEADS,
        ["bias", "key_padding_mask", "attention_bias", "past_key", "past_value",
         "past_sequence_length", "cache_indirection"], MULTIHEAD),
    "com.microsoft.GroupQueryAttention": (
        GQA, {"num_heads": 4, "kv_num_heads": 2},
        ["cos_cache", "sin_cache", "position_ids", "attention_bias", "head_sink", "k_scale",
         "v_scale", "q_norm_weight", "k_norm_weight"], GROUPED),
    "com.microsoft.Attention": (
        WHOLE, HEADS, ["bias", "mask_index", "past", "attention_bias", "past_sequence_length"],
        MERGED),
    "com.microsoft.RotaryEmbedding": (
        TURNED, {}, [], {"scale": {"scale": 2.0}, "is_packed_batching": {"is_packed_batching": 2},
                         "position_ids": {"position_ids": np.full((1,), 6)}}),
}  # fmt: skip
CASES = [(op, name) for op, (*_, cases) in OPERATORS.items() for name in cases]


def call(op, changes):
    inputs, attributes, more, _ = OPERATORS[op]
    inputs = {**inputs, **dict.fromkeys(more)}
    attributes = dict(attributes)
    for name, x in changes.items():
        (inputs if name in inputs else attributes)[name] = x
    attributes = {name: x for name, x in attributes.items() if x is not None}
    domain, _, op_type = op.rpartition(".")
    model = node(op_type, inputs, ["Y"], domain or "", opset=25, **attributes)
    assert domain in ("", MICROSOFT)
    return ours(model, inputs)


@pytest.mark.parametrize(("op", "case"), CASES)
def test_refused(op, case):
    wrong = OPERATORS[op][-1][case]
    named, changes = wrong if isinstance(wrong, tuple) else (case, wrong)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is looked at below)
        call(op, changes)
    text = str(error.value)
    assert text.startswith(f"{op}: "), text
    assert named in text, text


@pytest.mark.parametrize("op", OPERATORS)
def test_the_call_itself_is_taken(op):
    assert len(call(op, {})) == 1


def test_an_output_that_the_attribute_does_not_ask_for():
    inputs = dict(GQA)
    model = node("GroupQueryAttention", inputs, ["Y", "k", "v", "qk"], MICROSOFT, num_heads=4,
                 kv_num_heads=2)  # fmt: skip
    with pytest.raises(ValueError, match="GroupQueryAttention: qk_output is 0"):
        ours(model, inputs)
