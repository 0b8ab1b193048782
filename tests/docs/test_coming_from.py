"""The calls of other libraries that docs/coming-from/ translates give what the translation gives.

A block of these pages has the old call in a comment that starts with ``was:``. It is run with the
library's function as its documentation defines it (tests/support/others), or with the library
itself, and every name that it assigns must have the value that the rest of the block gives it.
"""

from __future__ import annotations

import ast
import importlib
import re

import numpy as np
import pytest
from test_docs import blocks

from paths import ROOT

FOLDER = ROOT / "docs" / "coming-from"
PAGES = sorted(FOLDER.glob("*.md"))
WAS = re.compile(r"^# was: (.*\n(?:#      ?.*\n)*)", re.MULTILINE)


def parts(source: str) -> tuple[str, str, str]:
    """What stands before ``was:``, the code behind it, and the translation."""
    found = WAS.search(source)
    if not found:
        return source, "", ""
    old = re.sub(r"^#      ?", "", found[1], flags=re.MULTILINE)
    return source[: found.start()], old, source[found.end() :]


def run(source: str, place: str, namespace: dict[str, object]) -> None:
    exec(compile(source, place, "exec"), namespace)


def assigned(source: str) -> list[str]:
    """Names that the last statement of the old code assigns."""
    statement = ast.parse(source).body[-1]
    assert isinstance(statement, ast.Assign), f"assigns nothing: {source}"
    names = [node.id for target in statement.targets for node in ast.walk(target)
             if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]  # fmt: skip
    return [name for name in names if name != "_"]


def compare(page: str, text: str, functions: dict[str, object]) -> int:
    """Run a page, each old call beside its translation; return how many there were."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for source, _, line in blocks(text):
        place = f"{page}:{line}"
        first, old, new = parts(source)
        run(first, place, namespace)
        if not old:
            continue
        # Copies: some of the old functions write into their arguments.
        given = {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in namespace.items()
        }
        before = {**given, **functions}
        run(old, place, before)
        run(new, place, namespace)
        for name in assigned(old):
            wanted, got = np.asarray(before[name]), np.asarray(namespace[name])
            assert wanted.shape == got.shape, f"{place}: {name} has another shape"
            np.testing.assert_allclose(
                got, wanted, rtol=2e-5, atol=5e-6, err_msg=f"{place}: {name}"
            )
            count += 1
    return count


def library(page: str) -> str:
    return page.replace("-", "_")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_translations_against_the_documented_definition(page):
    functions = importlib.import_module(f"others.{library(page.stem)}").definitions()
    assert compare(page.name, page.read_text("utf-8"), functions) >= 6


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile.*")
@pytest.mark.filterwarnings("ignore:return_lse is deprecated")
@pytest.mark.parametrize(("page", "module"), [("pytorch", "torch"), ("jax", "jax")])
def test_translations_against_the_library_itself(page, module):
    pytest.importorskip(module)
    functions = importlib.import_module(f"others.{page}").itself()
    assert compare(page, (FOLDER / f"{page}.md").read_text("utf-8"), functions) >= 6


SETUP = "import numpy as np\nx = np.ones(3)\n"


def test_a_wrong_translation_is_seen():
    page = (
        f"```python\n{SETUP}```\n```python\n# was: y = old(x,\n#          2)\ny = x * {{}}\n```\n"
    )
    functions = {"old": lambda x, factor: x * factor}
    assert compare("page", page.format(2), functions) == 1
    with pytest.raises(AssertionError, match="page:6: y"):
        compare("page", page.format(3), functions)
    with pytest.raises(AssertionError, match="another shape"):
        compare("page", page.format("2 + np.ones((1, 3))"), functions)


ARGUMENTS = {
    "pytorch": (
        "query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa",
        "key_padding_mask", "need_weights", "average_attn_weights", "score_mod", "block_mask",
        "return_lse", "kernel_options", "embed_dim", "num_heads", "bias", "add_bias_kv",
        "add_zero_attn", "kdim", "vdim", "batch_first", "cu_seq_q", "cu_seq_k", "max_q", "max_k",
        "window_size", "seqused_k", "block_table", "return_aux", "num_splits",
    ),
    "flash-attn": (
        "q", "k", "v", "qkv", "kv", "dropout_p", "softmax_scale", "causal", "window_size",
        "softcap", "alibi_slopes", "deterministic", "return_attn_probs", "cu_seqlens_q",
        "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k", "block_table", "k_cache", "v_cache",
        "rotary_cos", "rotary_sin", "cache_seqlens", "cache_batch_idx", "cache_leftpad",
        "rotary_interleaved", "num_splits", "return_softmax_lse",
    ),
    "xformers": (
        "query", "key", "value", "attn_bias", "p", "scale", "op", "output_dtype",
        "LowerTriangularMask", "LowerTriangularMaskWithTensorBias",
        "LowerTriangularFromBottomRightMask", "LowerTriangularFromBottomRightLocalAttentionMask",
        "LocalAttentionFromBottomRightMask", "BlockDiagonalMask", "BlockDiagonalCausalMask",
        "BlockDiagonalCausalFromBottomRightMask", "BlockDiagonalPaddedKeysMask",
        "BlockDiagonalCausalWithOffsetPaddedKeysMask", "PagedBlockDiagonalPaddedKeysMask",
    ),
    "jax": (
        "query", "key", "value", "bias", "mask", "scale", "is_causal", "query_seq_lengths",
        "key_value_seq_lengths", "local_window_size", "implementation", "return_residual",
    ),
    "keras": (
        "query", "key", "value", "bias", "mask", "scale", "is_causal", "flash_attention",
        "attn_logits_soft_cap", "use_scale", "score_mode", "dropout", "seed", "num_heads",
        "key_dim", "value_dim", "use_bias", "output_shape", "attention_axes", "query_mask",
        "value_mask", "key_mask", "attention_mask", "return_attention_scores", "training",
        "use_causal_mask",
    ),
}  # fmt: skip


@pytest.mark.parametrize("page", ARGUMENTS)
def test_every_argument_has_a_row(page):
    """In the first column of a table: alone, or with a value, or beside others."""
    text = (FOLDER / f"{page}.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    named = {word for row in rows for code in re.findall(r"`([^`]*)`", row)
             for word in re.findall(r"[A-Za-z_]\w*", code)}  # fmt: skip
    assert set(ARGUMENTS[page]) <= named, set(ARGUMENTS[page]) - named


def installed_arguments(module: str, name: str) -> set[str]:
    import inspect

    function = pytest.importorskip(module)
    for part in name.split("."):
        function = getattr(function, part)
    return set(inspect.signature(function).parameters)


def test_arguments_of_jax_are_those_it_has():
    assert installed_arguments("jax", "nn.dot_product_attention") == set(ARGUMENTS["jax"])


def test_arguments_of_pytorch_are_known():
    pytest.importorskip("torch")
    found = installed_arguments("torch.nn", "MultiheadAttention.forward") - {"self"}
    found |= installed_arguments("torch.nn.attention.flex_attention", "flex_attention")
    found |= installed_arguments("torch.nn.attention.varlen", "varlen_attn")
    assert found <= set(ARGUMENTS["pytorch"])
