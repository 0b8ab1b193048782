"""The compiled functions that XLA calls, which are part of the core, and how they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from regard import _core
from regard.jax._call import Call

_NAME = "regard_{}"


@cache
def register() -> None:
    """Tell XLA of them once, in the version of its interface that the installed JAX speaks."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text("utf-8")
    found = dict(re.findall(r"#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", header))
    version = int(found["MAJOR"]), int(found["MINOR"])
    if version[0] != 0:
        raise ImportError(
            f"regard.jax: JAX {jax.__version__} has version {version[0]} of XLA's interface for "
            "compiled functions, and regard knows version 0.\n  Install an older JAX or a newer "
            "regard."
        )
    for name, handler in _core.ffi_targets(*version).items():
        jax.ffi.register_ffi_target(_NAME.format(name), handler, platform="cpu")


def call_target(
    name: str,
    call: Call,
    operands: dict[str, jax.Array],
    results: dict[str, jax.core.ShapedArray],
) -> dict[str, Any]:
    """Call a function of the core on arrays by name.

    Parameters
    ----------
    name : {"attention", "backward", "tangent"}
    call : Call
    operands : dict of str to Array
    results : dict of str to ShapedArray
        What it writes.

    Returns
    -------
    dict of str to Array
        The results.
    """
    register()
    types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in results.values()]
    # How a batch of calls becomes one is said of our own primitives, which lie above.
    target = jax.ffi.ffi_call(_NAME.format(name), types, vmap_method="sequential")
    attributes = {key: _attribute(x) for key, x in call.attributes}
    arrays: Sequence[jax.Array] = target(
        *operands.values(),
        operands=",".join(operands),
        results=",".join(results),
        tokens_first=np.int64(call.tokens_first),
        **attributes,
    )
    return dict(zip(results, arrays, strict=True))


def _attribute(value: Any) -> Any:
    if isinstance(value, tuple):
        return np.asarray(value, np.float64 if isinstance(value[0], float) else np.int64)
    return np.float64(value) if isinstance(value, float) else np.int64(value)
