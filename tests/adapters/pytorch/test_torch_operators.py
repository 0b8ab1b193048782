"""The operators themselves: schemas, fakes and autograd, by PyTorch's own checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from torch_tensors import detached, tensors

torch: Any = pytest.importorskip("torch")
pytest.importorskip("regard.torch")
encoding: Any = pytest.importorskip("regard.torch._encoding")
compute: Any = pytest.importorskip("regard.torch._compute")

operators = torch.ops.regard

# Shapes of query, key and value; tensors by name; the other options.
CALLS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any], dict[str, Any]]] = {
    "plain": ([(2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)], {}, {}),
    "one head": ([(5, 6), (7, 6), (7, 3)], {}, {"causal": True}),
    "one query": ([(6,), (7, 6), (7, 3)], {}, {}),
    "one query, heads": ([(6,), (1, 7, 6), (1, 7, 3)], {}, {}),
    "broadcast": ([(4, 5, 6), (3, 1, 2, 7, 6), (2, 2, 7, 3)], {}, {}),
    "numbers": (
        [(2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)],
        {"bias": (1, 5, 7), "sinks": (4,), "alibi_slopes": (4,), "query_scale": (4, 1)},
        {"window": (3, None), "softcap": 5.0, "scale": [1.0, 0.5, 0.1, 2.0]},
    ),
    "packed": (
        [(10, 4, 6), (10, 2, 6), (10, 2, 3)],
        {"cu_seqlens_q": [0, 3, 10], "cu_seqlens_k": [0, 3, 10]},
        {"causal": "upper_left"},
    ),
    "table": (
        [(2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)],
        {"position_bias": (8, 4)},
        {"position_bias": regard.bias.T5(np.zeros((8, 4)), max_distance=16)},
    ),
}


def arguments(name: str, make: Any) -> tuple[list[Any], list[Any], str]:
    """Query, key and value; the other tensors; the text."""
    shapes, named, options = CALLS[name]
    lists = {n: torch.tensor(x) for n, x in named.items() if isinstance(x, list)}
    made = make(*shapes, *(x for n, x in named.items() if n not in lists))
    others = iter(made[3:])
    given = [lists[n] if n in lists else next(others) for n in named]
    text, arrays = encoding.encode(compute.Call(tuple(named), options))
    return made[:3], [*given, *arrays], text


@pytest.mark.parametrize(
    ("call", "dtype"), [*((call, "float64") for call in CALLS), ("numbers", "bfloat16")]
)
def test_opcheck(call: str, dtype: str) -> None:
    kind = getattr(torch, dtype)
    inputs, others, text = arguments(call, lambda *x: tensors(*x, dtype=kind))
    torch.library.opcheck(operators.attention.default, (*inputs, others, text))
    inputs, others, text = arguments(call, lambda *x: detached(*x, dtype=kind))
    out, lse = operators.attention(*inputs, others, text)
    wanted = ["key", "value", *(n for n in CALLS[call][1] if "cu_" not in n)]
    torch.library.opcheck(
        operators.attention_backward.default,
        (out, None, *inputs, others, text, out, lse, wanted),
    )
    if call == "packed":
        return  # no forward mode
    torch.library.opcheck(
        operators.attention_tangent.default, (*inputs, None, *inputs[1:], others, text)
    )


@pytest.mark.parametrize("call", CALLS)
def test_gradcheck_of_output_and_lse(call: str) -> None:
    inputs, others, text = arguments(call, tensors)

    def run(*x: Any) -> Any:
        return operators.attention(*x[:3], list(x[3:]), text)

    assert torch.autograd.gradcheck(run, (*inputs, *others))


def test_derivatives_of_derivatives_are_refused() -> None:
    inputs, others, text = arguments("plain", tensors)
    out, _ = operators.attention(*inputs, others, text)
    (gradient,) = torch.autograd.grad(out.sum(), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
        gradient.sum().backward()


OBJECTS: dict[str, dict[str, Any]] = {
    "words": {"causal": "upper_left", "similarity": "cosine", "scale": -3, "window": (None, 2)},
    "numbers": {"dropout": 0.25, "seed": 2**64 - 1, "softcap": 0.1, "num_threads": 1},
    "infinite": {"sinks": [-np.inf, 0.0, 1e-30, 3.25]},
    "NumPy's": {"scale": np.float32(0.1), "query_offset": np.array([1, 2]), "window": np.int64(3)},
    "heads": {"window": (np.array([1, 2, -1, 0]), None)},
    "T5": {"position_bias": regard.bias.T5(np.ones((8, 4), np.float32), bidirectional=False)},
    "Relative": {"position_bias": regard.bias.Relative(np.arange(9.0))},
    "Grid": {"position_bias": regard.bias.Grid(np.ones((15, 4)), 2, 3)},
    "bits": {"mask": regard.PackedMask.from_dense(np.tri(6, dtype=bool))},
    "tiles": {"mask": regard.masks.causal(20, 30, block_size=16)},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_a_text_says_all_options(name: str) -> None:
    call = compute.Call((), OBJECTS[name])
    text, arrays = encoding.encode(call)
    back = encoding.decode(text, arrays).options
    assert back.keys() == call.options.keys()
    for option, x in call.options.items():
        got = back[option]
        if hasattr(x, "to_dense"):
            assert type(got) is type(x)
            size = x.shape[-2:] if name in ("bits", "tiles") else (6, 6)
            dense = (y.to_dense(*(() if name in ("bits", "tiles") else size)) for y in (got, x))
            np.testing.assert_array_equal(*dense)
        elif option == "window" and name == "heads":
            np.testing.assert_array_equal(got[0], x[0])
        else:
            np.testing.assert_array_equal(got, x)


def test_what_has_no_text_is_named() -> None:
    class Own(regard.bias.Relative):
        pass

    with pytest.raises(TypeError, match="position_bias is a Own, which an operator cannot take"):
        encoding.encode(compute.Call((), {"position_bias": Own(np.zeros(9))}))
