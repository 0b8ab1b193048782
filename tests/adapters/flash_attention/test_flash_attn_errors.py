"""Bad input: refused before anything is computed, in the name of function and argument."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from regard import flash_attn

Q, K = torch.zeros(2, 5, 4, 16), torch.zeros(2, 7, 2, 16)
FLAT = torch.zeros(12, 4, 16)
STARTS = torch.tensor([0, 5, 12], dtype=torch.int32)
PAGES = torch.zeros(3, 8, 2, 16)
TABLE = torch.tensor([[0], [2]], dtype=torch.int32)
LENGTHS = torch.tensor([3, 4], dtype=torch.int32)
TURNS = torch.zeros(8, 4)


def ints(*numbers: int) -> Any:
    return torch.tensor(numbers, dtype=torch.int32)


DENSE: dict[str, tuple[type, str, dict[str, Any]]] = {
    "no tensor": (TypeError, "k is a list", {"k": [1.0]}),
    "no numbers": (TypeError, "q is on the device meta", {"q": Q.to("meta")}),
    "int": (TypeError, r"q has dtype torch.int32.\n  Use float16", {"q": Q.int()}),
    "mixed": (TypeError, "v has dtype torch.bfloat16, q has torch.float32", {"v": K.bfloat16()}),
    "rank": (ValueError, r"k has shape \(7, 2, 16\).\n  Give \(batch, seqlen, heads", {"k": K[0]}),
    "batch": (ValueError, "Queries and keys must be of one batch", {"q": Q[:1]}),
    "lengths": (ValueError, "Keys and values must have the same shape", {"v": K[:, 1:]}),
    "head_dim": (ValueError, "must have the same head_dim", {"q": Q[..., 1:]}),
    "heads": (ValueError, "must be a multiple", {"q": Q[:, :, 1:]}),
    "no features": (ValueError, "head_dim must not be 0", {x: Q[..., :0] for x in "qkv"}),
    "dropout": (ValueError, "dropout_p is 1.0", {"dropout_p": 1.0}),
    "window": (TypeError, "window_size is 4", {"window_size": 4}),
    "half a window": (TypeError, r"window_size is \(1.5, 0\)", {"window_size": (1.5, 0)}),
    "slopes": (ValueError, r"alibi_slopes has shape \(3,\)", {"alibi_slopes": torch.ones(3)}),
    "slopes in 16 bits": (
        TypeError, "alibi_slopes has dtype torch.float16", {"alibi_slopes": torch.ones(4).half()}
    ),
    "slopes with a gradient": (
        ValueError, "alibi_slopes requires a gradient",
        {"alibi_slopes": torch.ones(4, requires_grad=True)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DENSE)
def test_flash_attn_func(what: str) -> None:
    error, message, wrong = DENSE[what]
    with pytest.raises(error, match=f"(?s){message}") as caught:
        flash_attn.flash_attn_func(**{"q": Q, "k": K, "v": K, **wrong})
    assert str(caught.value).startswith("flash_attn_func: ")


def test_unknown_keywords() -> None:
    for name in flash_attn.__all__:
        if name.startswith("flash_attn_"):
            with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword .*'sinks'"):
                getattr(flash_attn, name)(sinks=1)


def test_packed_tensors() -> None:
    with pytest.raises(
        ValueError, match=r"kvpacked_func: kv has shape .*\n  Give \(batch, seqlen, 2,"
    ):
        flash_attn.flash_attn_kvpacked_func(Q, K)
    with pytest.raises(ValueError, match=r"qkvpacked_func: qkv has shape \(2, 5, 4, 2, 16\)"):
        flash_attn.flash_attn_qkvpacked_func(torch.zeros(2, 5, 4, 2, 16))
    with pytest.raises(ValueError, match=r"kvpacked_func: q, kv do not fit"):
        flash_attn.flash_attn_kvpacked_func(Q, torch.zeros(1, 5, 2, 2, 16))


VARLEN: dict[str, tuple[type, str, dict[str, Any]]] = {
    "a list": (TypeError, "cu_seqlens_q is a list", {"cu_seqlens_q": [0, 12]}),
    "floats": (TypeError, "cu_seqlens_k has dtype", {"cu_seqlens_k": STARTS.float()}),
    "rank": (ValueError, r"cu_seqlens_q has shape \(1, 3\)", {"cu_seqlens_q": STARTS[None]}),
    "falls": (ValueError, r"cu_seqlens_q is \[0, 13, 12\]", {"cu_seqlens_q": ints(0, 13, 12)}),
    "starts late": (ValueError, "must begin at 0", {"cu_seqlens_k": ints(1, 5, 12)}),
    "ends early": (ValueError, "end at 12", {"cu_seqlens_k": ints(0, 5, 11)}),
    "nothing": (ValueError, r"cu_seqlens_q is \[\]", {"cu_seqlens_q": ints()}),
    "other batch": (ValueError, "are of 1 and 2 pieces", {"cu_seqlens_q": ints(0, 12)}),
    "too short": (ValueError, "max_seqlen_q is 6, and a piece has 7", {"max_seqlen_q": 6}),
    "no length": (TypeError, "max_seqlen_k is 7.5", {"max_seqlen_k": 7.5}),
    "rank of k": (ValueError, "k has shape", {"k": K}),
    "pages of q": (ValueError, "q has shape", {"q": Q, "block_table": TABLE}),
    "no pages": (ValueError, "k has shape .*pages, page_size", {"block_table": TABLE}),
    "dropout of pages": (
        ValueError, "dropout_p is 0.1 with block_table",
        {"k": PAGES, "v": PAGES, "block_table": TABLE, "dropout_p": 0.1},
    ),
    "no such page": (
        ValueError, "block_table names page 3, and there are 3",
        {"k": PAGES, "v": PAGES, "block_table": TABLE + 1},
    ),
    "few blocks": (
        ValueError, "block_table has room for 8 keys, and with cu_seqlens_k there are 9",
        {"k": PAGES, "v": PAGES, "block_table": TABLE, "cu_seqlens_k": ints(0, 9, 12),
         "max_seqlen_k": 9},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", VARLEN)
def test_flash_attn_varlen_func(what: str) -> None:
    error, message, wrong = VARLEN[what]
    right = {
        "q": FLAT, "k": FLAT, "v": FLAT, "cu_seqlens_q": STARTS, "cu_seqlens_k": STARTS,
        "max_seqlen_q": 7, "max_seqlen_k": 7,
    }  # fmt: skip
    with pytest.raises(error, match=f"(?s){message}") as caught:
        flash_attn.flash_attn_varlen_func(**{**right, **wrong})
    assert str(caught.value).startswith("flash_attn_varlen_func: ")


NEW = {"k": torch.zeros(2, 1, 2, 16), "v": torch.zeros(2, 1, 2, 16)}
PAGED = {"k_cache": PAGES, "v_cache": PAGES, "block_table": TABLE}
CACHED: dict[str, tuple[type, str, dict[str, Any]]] = {
    "no tensor": (TypeError, "k_cache is a NoneType", {"k_cache": None}),
    "mixed": (TypeError, "v_cache has dtype torch.float16", {"v_cache": K.half()}),
    "mixed new": (TypeError, "k has dtype torch.float16", {**NEW, "k": NEW["k"].half()}),
    "rank": (ValueError, "v_cache has shape .*batch_cache, seqlen_cache", {"v_cache": K[0]}),
    "half": (ValueError, "v without k", {"v": NEW["v"]}),
    "other half": (ValueError, "k without v", {"k": NEW["k"]}),
    "new heads": (ValueError, r"v has shape \(2, 1, 1, 16\)", {**NEW, "v": NEW["v"][:, :, :1]}),
    "no lengths": (ValueError, "k and v without cache_seqlens", {**NEW, "cache_seqlens": None}),
    "negative": (ValueError, "cache_seqlens has -1", {"cache_seqlens": -1}),
    "no number": (TypeError, "cache_seqlens is a float", {"cache_seqlens": 1.0}),
    "few lengths": (ValueError, r"cache_seqlens has shape \(1,\)", {"cache_seqlens": ints(1)}),
    "too long": (ValueError, "k_cache has room for 7 keys", {"cache_seqlens": 8}),
    "full": (ValueError, "cache_seqlens is 7 with 1 new", {**NEW, "cache_seqlens": 7}),
    "few rows": (ValueError, "k_cache has 1 rows for 2", {"k_cache": K[:1], "v_cache": K[:1]}),
    "no such row": (ValueError, "cache_batch_idx has 2", {"cache_batch_idx": ints(0, 2)}),
    "rows and pages": (
        ValueError, "cache_batch_idx with block_table", {**PAGED, "cache_batch_idx": ints(0, 1)}
    ),
    "no such page": (ValueError, "block_table names page -1", {**PAGED, "block_table": TABLE - 1}),
    "few blocks": (
        ValueError, "block_table has room for 8 keys, and with cache_seqlens there are 9",
        {**PAGED, "cache_seqlens": 9},
    ),
    "full pages": (
        ValueError, "block_table has room for 8 keys, and with cache_seqlens there are 9",
        {**PAGED, **NEW, "cache_seqlens": 8},
    ),
    "padding": (ValueError, r"cache_leftpad has shape \(3,\)", {"cache_leftpad": ints(0, 0, 0)}),
    "turns alone": (ValueError, "rotary_cos without k and v", {"rotary_cos": TURNS}),
    "no sines": (ValueError, "rotary_cos without rotary_sin", {**NEW, "rotary_cos": TURNS}),
    "no cosines": (ValueError, "rotary_sin without rotary_cos", {**NEW, "rotary_sin": TURNS}),
    "few turns": (
        ValueError, "positions go up to 8",
        {**NEW, "rotary_cos": TURNS, "rotary_sin": TURNS, "causal": True},
    ),
    "many turns": (
        ValueError, r"rotary_cos has shape \(8, 9\)",
        {**NEW, "rotary_cos": torch.zeros(8, 9), "rotary_sin": torch.zeros(8, 9)},
    ),
    "turns of another dtype": (
        TypeError, "rotary_sin has dtype torch.float64",
        {**NEW, "rotary_cos": TURNS, "rotary_sin": TURNS.double()},
    ),
    "slopes": (ValueError, "alibi_slopes has shape", {"alibi_slopes": torch.ones(2, 2)}),
}  # fmt: skip


@pytest.mark.parametrize("what", CACHED)
def test_flash_attn_with_kvcache(what: str) -> None:
    error, message, wrong = CACHED[what]
    right = {"q": Q, "k_cache": K, "v_cache": K, "cache_seqlens": LENGTHS}
    with pytest.raises(error, match=f"(?s){message}") as caught:
        flash_attn.flash_attn_with_kvcache(**{**right, **wrong})
    assert str(caught.value).startswith("flash_attn_with_kvcache: ")


def test_slopes_with_a_gradient_may_be_given_where_there_is_no_graph() -> None:
    slopes = torch.ones(4, requires_grad=True)
    flash_attn.flash_attn_with_kvcache(Q, K, K, alibi_slopes=slopes)
    with torch.no_grad():
        flash_attn.flash_attn_func(Q, K, K, alibi_slopes=slopes)
