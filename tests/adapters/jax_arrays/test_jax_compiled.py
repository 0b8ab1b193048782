"""The compiled program calls the core and no Python; what XLA is told is what it reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regard

jax: Any = pytest.importorskip("jax")
adapter: Any = pytest.importorskip("regard.jax")
jnp = jax.numpy

ROOT = Path(__file__).resolve().parents[3]


def test_programs_hold_no_python() -> None:
    x = jnp.ones((2, 4, 6, 8), jnp.float32)
    lengths = jnp.asarray([6, 3])

    def loss(x: Any, lengths: Any) -> Any:
        return adapter.attention(x, x, x, key_lengths=lengths).sum()

    text = jax.jit(jax.value_and_grad(loss)).lower(x, lengths).compile().as_text()
    assert text.count('custom_call_target="regard_attention"') == 1
    assert text.count('custom_call_target="regard_backward"') == 1
    assert text.count("custom_call_target=") == 2
    assert "callback" not in text


def test_tokens_first_is_not_transposed() -> None:
    x = jnp.ones((2, 6, 4, 8), jnp.float32)
    function = jax.jit(jax.grad(lambda x: adapter.attention(x, x, x, layout="BSHD").sum()))
    text = function.lower(x).compile().as_text()
    assert "regard_backward" in text
    assert re.search(r" = \S+ transpose\(", text) is None
    by_head = jax.jit(lambda x: adapter.attention(*[x.swapaxes(1, 2)] * 3)).lower(x)
    assert re.search(r" = \S+ (transpose|fusion|copy)\(", by_head.compile().as_text())


def test_what_runs_may_find_errors() -> None:
    x = jnp.ones((2, 5, 4), jnp.float32)
    call = jax.jit(lambda n: adapter.attention(x, x, x, key_lengths=n))
    with pytest.raises(Exception, match=r"key_lengths holds 6, outside 0 \.\. 5"):
        call(jnp.asarray(6)).block_until_ready()
    with pytest.raises(ValueError, match=r"key_lengths holds 6, outside 0 \.\. 5"):
        adapter.attention(x, x, x, key_lengths=jnp.asarray(6))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"key": (2, 5, 3)}, "disagree on head_dim"),
        ({"mask": (3, 5)}, "mask does not broadcast"),
        ({"bias": (7,)}, "bias does not broadcast"),
        ({"key_lengths": (2,)}, "key_lengths of shape"),
        ({"sinks": (3,)}, "sinks"),
        ({"key_mask": (2, 6)}, "key_mask has shape"),
        ({"position_table": (8, 2)}, "table"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_found_while_tracing(given: Any, message: str) -> None:
    shapes = {"query": (2, 5, 4), "key": (2, 5, 4), "value": (2, 5, 4), **given}
    types = {"mask": bool, "key_mask": bool, "key_lengths": np.int32}
    arrays = {name: jnp.ones(s, types.get(name, np.float32)) for name, s in shapes.items()}
    bias = regard.bias.Relative(np.zeros((9, 2)))
    options = {"position_bias": bias} if "position_table" in given else {}
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x: adapter.attention(**x, **options)).lower(arrays)


def test_integers_are_refused() -> None:
    x = jnp.ones((2, 5, 4), np.int32)
    with pytest.raises(TypeError, match="query has dtype int32"):
        adapter.attention(x, x, x)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles a file")
def test_our_declarations_are_those_of_the_installed_header(tmp_path: Path) -> None:
    members = {
        ("Extension", "XLA_FFI_Extension_Base"): "struct_size type next",
        ("Version", "XLA_FFI_Api_Version"): "struct_size major_version minor_version",
        ("Metadata", "XLA_FFI_Metadata"): "struct_size api_version traits",
        ("MetadataExtension", "XLA_FFI_Metadata_Extension"): "metadata",
        ("Buffer", "XLA_FFI_Buffer"): "struct_size dtype data rank dims",
        ("Buffers", "XLA_FFI_Args"): "size types items:args",
        ("Buffers", "XLA_FFI_Rets"): "size types items:rets",
        ("Attributes", "XLA_FFI_Attrs"): "size types names items:attrs",
        ("Text", "XLA_FFI_ByteSpan"): "data:ptr size:len",
        ("Scalar", "XLA_FFI_Scalar"): "dtype value",
        ("Numbers", "XLA_FFI_Array"): "dtype size data",
        ("ErrorRequest", "XLA_FFI_Error_Create_Args"): "struct_size message code:errc",
        ("Api", "XLA_FFI_Api"): "version:api_version create_error:XLA_FFI_Error_Create",
        ("CallFrame", "XLA_FFI_CallFrame"): (
            "extensions:extension_start api stage operands:args results:rets attributes:attrs"
        ),
    }
    lines = ['#include "xla/ffi_abi.hpp"', "#include <xla/ffi/api/c_api.h>"]
    for (ours, theirs), names in members.items():
        for name in names.split():
            own, _, other = name.partition(":")
            lines.append(
                f"static_assert(offsetof(regard::xla::{ours}, {own}) == "
                f"offsetof({theirs}, {other or own}));"
            )
    numbers = {
        "kMetadataExtension": "Extension_Metadata", "kNumbers": "AttrType_ARRAY",
        "kScalar": "AttrType_SCALAR", "kText": "AttrType_STRING",
        "kInvalidArgument": "Error_Code_INVALID_ARGUMENT", "kInternal": "Error_Code_INTERNAL",
        "kResourceExhausted": "Error_Code_RESOURCE_EXHAUSTED",
    }  # fmt: skip
    lines += [
        f"static_assert(regard::xla::{ours} == static_cast<int>(XLA_FFI_{theirs}));"
        for ours, theirs in numbers.items()
    ]
    source = tmp_path / "layout.cpp"
    source.write_text("\n".join(lines) + "\n", "utf-8")
    command = ["g++", "-std=c++20", "-fsyntax-only", "-Wno-invalid-offsetof"]
    command += [f"-I{ROOT / 'cpp' / 'bindings'}", f"-I{jax.ffi.include_dir()}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
