"""scaled_dot_product_attention against PyTorch's own, on its own samples and on its error cases."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from torch_tensors import detached, tensors

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")
attention: Any = pytest.importorskip("torch.nn.attention")

ours = adapter.scaled_dot_product_attention

TOLERANCES = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def theirs(*arguments: Any, **options: Any) -> Any:
    """By definition: the other kernels differ in rows that see nothing, and in some errors."""
    with attention.sdpa_kernel(attention.SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(*arguments, **options)


def compare(arguments: list[Any], options: dict[str, Any]) -> None:
    """Compare values and gradients; float16 and bfloat16 with those of the same in float64."""

    def run(function: Any, arguments: list[Any], options: dict[str, Any]) -> list[Any]:
        every = [*arguments, *(x for x in options.values() if isinstance(x, torch.Tensor))]
        moving = [x for x in every if x.requires_grad]
        out = function(*arguments, **options)
        dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out.dtype)
        return [out, *torch.autograd.grad(out, moving, dout)]

    dtype = arguments[0].dtype
    got = run(ours, arguments, options)

    def wide(x: Any) -> Any:
        if isinstance(x, torch.Tensor) and x.is_floating_point():
            return x.detach().double().requires_grad_(x.requires_grad)
        return x

    want = run(theirs, [wide(x) for x in arguments], {n: wide(x) for n, x in options.items()})
    tolerance = TOLERANCES[str(dtype).removeprefix("torch.")]
    # The rounding of the output, which gradients begin with, grows with the values.
    size = max([1.0, *(float(x.detach().abs().max()) for x in arguments if x.numel())])
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * size)


def samples(dtype: str) -> list[Any]:
    """PyTorch's own, without dropout."""
    pytest.importorskip("expecttest", reason="PyTorch's samples need it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    (info,) = (x for x in op_db if x.name == "nn.functional.scaled_dot_product_attention")
    assert info.error_inputs_func is None  # else they would be tried here too
    made = info.sample_inputs("cpu", getattr(torch, dtype), requires_grad=True)
    return [([x.input, *x.args], x.kwargs) for x in made]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_samples_of_torch(dtype: str) -> None:
    count = 0
    for arguments, options in samples(dtype):
        if options.get("dropout_p"):
            out = ours(*arguments, **options)
            assert out.shape == theirs(*arguments, **options).shape
        else:
            compare(arguments, options)
        count += 1
    assert count > 20


# Shapes of query, key and value; of a mask; options.
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
SAME: Shapes = ((2, 4, 5, 6), (2, 4, 7, 6), (2, 4, 7, 3))
CASES: dict[str, tuple[Shapes, tuple[int, ...] | None, dict[str, Any]]] = {
    "plain": (SAME, None, {}),
    "causal": (SAME, None, {"is_causal": True}),
    "causal, more queries": (((2, 7, 6), (2, 3, 6), (2, 3, 6)), None, {"is_causal": True}),
    "scale": (SAME, None, {"scale": -0.7}),
    "no scale": (SAME, None, {"scale": 0.0}),
    "no heads": (((5, 6), (7, 6), (7, 3)), None, {"is_causal": True}),
    "many batches": (((3, 2, 4, 5, 6), (2, 1, 7, 6), (3, 1, 4, 7, 3)), (2, 1, 5, 7), {}),
    "one key head": (((2, 4, 5, 6), (2, 1, 7, 6), (2, 1, 7, 3)), None, {}),
    "one query head": (((2, 1, 5, 6), (2, 4, 7, 6), (2, 4, 7, 3)), (4, 5, 7), {}),
    "one value head": (((2, 4, 5, 6), (2, 4, 7, 6), (7, 3)), None, {}),
    "grouped": (((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)), None, {"enable_gqa": True}),
    "grouped apart": (
        ((2, 4, 5, 6), (2, 2, 7, 6), (2, 1, 7, 3)), (5, 7), {"enable_gqa": True},
    ),
    "grouped, no batch": (((4, 5, 6), (2, 7, 6), (2, 7, 3)), None, {"enable_gqa": True}),
    "mask": (SAME, (5, 7), {}),
    "mask of rows": (SAME, (5, 1), {}),
    "mask of keys": (SAME, (2, 1, 1, 7), {}),
    "mask of heads": (SAME, (4, 5, 7), {}),
    "no keys": (((2, 4, 5, 6), (2, 4, 0, 6), (2, 4, 0, 3)), None, {}),
    "no queries": (((2, 4, 0, 6), (2, 4, 7, 6), (2, 4, 7, 3)), None, {}),
    "no batch": (((0, 4, 5, 6), (0, 4, 7, 6), (0, 4, 7, 3)), None, {}),
    "no columns": (((2, 4, 5, 0), (2, 4, 7, 0), (2, 4, 7, 3)), None, {"is_causal": True}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["bool", "float", "learned"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, dtype: str, kind: str) -> None:
    shapes, mask, options = CASES[name]
    if mask is None and kind != "bool":
        return
    arguments = tensors(*shapes, dtype=getattr(torch, dtype))
    if mask is not None:
        seen = torch.rand(mask, generator=torch.Generator().manual_seed(1)) < 0.6
        seen[..., :1, :] = mask[-1] == 1  # a row that sees nothing, where rows have masks
        (bias,) = detached(mask, dtype=arguments[0].dtype)
        bias = {"float": bias.masked_fill(~seen, float("-inf")), "learned": bias.requires_grad_()}
        options = {**options, "attn_mask": seen if kind == "bool" else bias[kind]}
    compare(arguments, options)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_a_float32_mask_goes_with_all_dtypes(dtype: str) -> None:
    arguments = tensors(*SAME, dtype=getattr(torch, dtype))
    (bias,) = detached((5, 7), dtype=torch.float32)
    want = theirs(*(x.double() for x in arguments), bias.double())
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(
        ours(*arguments, bias).double(), want, rtol=tolerance, atol=tolerance
    )


def test_dropout() -> None:
    """Values are 1: a row is the share that is kept, over what is kept in the mean."""
    query, key = detached((1, 8, 256, 8), (1, 8, 300, 8), dtype=torch.float32)
    value = torch.ones(1, 8, 300, 1)
    torch.manual_seed(5)
    first, second = (ours(query, key, value, dropout_p=0.25) for _ in range(2))
    torch.manual_seed(5)
    assert torch.equal(first, ours(query, key, value, dropout_p=0.25))
    assert not torch.equal(first, second)
    mean, spread = float(first.mean()), float(first.std())
    expected = theirs(query, key, value, dropout_p=0.25)
    assert abs(mean - 1) < 5e-3
    assert abs(spread / float(expected.std()) - 1) < 0.1
    nothing = ours(query.requires_grad_(), key, value, dropout_p=1.0)
    assert torch.equal(nothing, torch.zeros_like(nothing))
    nothing.sum().backward()
    assert torch.equal(query.grad, torch.zeros_like(query))


def test_autocast() -> None:
    query, key, value = detached(*SAME, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = ours(query, key.half(), value, torch.zeros(5, 7))
        assert got.dtype == theirs(query, key.half(), value, torch.zeros(5, 7)).dtype
    want = theirs(query.double(), key.double(), value.double())
    torch.testing.assert_close(got.double(), want, rtol=3e-2, atol=3e-2)


def test_whole_graphs() -> None:
    torch._dynamo.reset()
    query, key, value, mask = tensors(*SAME, (5, 7))

    def function(q: Any, k: Any, v: Any, m: Any) -> Any:
        dropped = ours(q, k, v, dropout_p=0.5)
        return ours(q, k, v, m) + ours(
            q, k[:, :2], v[:, :2], is_causal=True, enable_gqa=True
        ), dropped

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.compile(function, fullgraph=True, backend="aot_eager")
        got, dropped = graph(query, key, value, mask)
        _, again = graph(query, key, value, mask)
    want, _ = function(query, key, value, mask)
    torch.testing.assert_close(got, want)
    assert not torch.equal(dropped, again)  # the seed is no part of the graph


@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
def test_both_passes_of_a_graph_drop_the_same(backend: str) -> None:
    """An output is linear in its values, so that their gradient gives it back."""
    query, key, value = tensors(*SAME)
    torch._dynamo.reset()
    graph = torch.compile(
        lambda *x: ours(*x, dropout_p=0.5).sin().asin(), fullgraph=True, backend=backend
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = value.detach().mul(0.1).requires_grad_()
        out = graph(query, key, small)
        (dvalue,) = torch.autograd.grad(out.sum(), small)
    torch.testing.assert_close((dvalue * small).sum(), out.sum())


X = (2, 4, 5, 6)
# What both refuse: shapes or tensors, options, and what the message names.
ERRORS: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "axes": ([(6,), (7, 6), (7, 6)], {}, "fewer than 2 axes"),
    "dtypes": ([X, torch.zeros(X, dtype=torch.float64), X], {}, "no floating dtype in common"),
    "integers": ([torch.zeros(X, dtype=torch.int64)] * 3, {}, "no floating dtype in common"),
    "columns": ([X, (2, 4, 5, 7), X], {}, "query, key and value do not fit"),
    "rows": ([X, X, (2, 4, 6, 6)], {}, "query, key and value do not fit"),
    "heads": ([X, (2, 2, 5, 6), (2, 2, 5, 6)], {}, "do not broadcast"),
    "batches": ([(3, 4, 5, 6), X, X], {}, "do not broadcast"),
    "groups": ([X, (2, 3, 5, 6), (2, 3, 5, 6)], {"enable_gqa": True}, "must divide"),
    "more heads": ([X, (2, 8, 5, 6), (2, 8, 5, 6)], {"enable_gqa": True}, "must divide"),
    "both masks": ([X] * 3, {"attn_mask": torch.ones(5, 5) > 0, "is_causal": True}, "is_causal"),
    "mask": ([X] * 3, {"attn_mask": torch.ones(4, 5) > 0}, "attn_mask"),
    "mask above": ([X] * 3, {"attn_mask": torch.ones(1, 2, 4, 5, 5) > 0}, "attn_mask has shape"),
    "mask of halves": ([X] * 3, {"attn_mask": torch.ones(5, 5).half()}, "attn_mask has dtype"),
    "mask of numbers": ([X] * 3, {"attn_mask": torch.ones(5, 5).long()}, "attn_mask has dtype"),
    "dropout": ([X] * 3, {"dropout_p": 2.0}, "dropout_p is 2.0"),
    "causal": ([X] * 3, {"is_causal": None}, "is_causal is None"),
    "scale": ([X] * 3, {"scale": "a"}, "scale is 'a'"),
    "no tensor": ([None, X, X], {}, "query is a NoneType"),
    "unknown": ([X] * 3, {"window": 3}, "window"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    given, options, message = ERRORS[name]
    arguments = [torch.zeros(x, dtype=torch.float32) if isinstance(x, tuple) else x for x in given]
    with pytest.raises((RuntimeError, TypeError, IndexError)) as raised:
        theirs(*arguments, **options)
    with pytest.raises(raised.type, match=message):
        ours(*arguments, **options)


def test_what_only_we_refuse() -> None:
    (x,) = detached(X)
    with pytest.raises(TypeError, match="key is on the device meta"):
        ours(x, x.to("meta"), x)
    with pytest.raises(ValueError, match="scale"):
        ours(x, x, x, scale=float("inf"))
    with pytest.raises(RuntimeError, match="fewer than 3 axes"):
        ours(x[0, 0], x, x, enable_gqa=True)
    nested = torch.nested.nested_tensor([x[0, 0], x[0, 1]], layout=torch.jagged)
    with pytest.raises(TypeError, match="query is nested or sparse"):
        ours(nested, nested, nested)
