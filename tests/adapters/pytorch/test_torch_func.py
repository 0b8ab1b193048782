"""torch.func: vmap as a batch axis or a loop, gradients, forward mode, and both of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from torch_tensors import detached

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")

# PyTorch's own, when it first goes in forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

# Shapes of one call, with the axis that vmap goes over in front of those that have it.
VMAPPED: dict[str, tuple[dict[str, tuple[int, ...]], tuple[str, ...], dict[str, Any]]] = {
    "all": ({"query": (4, 5, 6), "key": (2, 7, 6), "value": (2, 7, 3)}, ("query", "key", "value"),
            {"causal": True}),
    "query": ({"query": (4, 5, 6), "key": (2, 7, 6), "value": (2, 7, 3)}, ("query",), {}),
    "key of one head": ({"query": (5, 6), "key": (7, 6), "value": (7, 3)}, ("key",), {}),
    "one query": ({"query": (6,), "key": (7, 6), "value": (7, 3)}, ("query", "value"), {}),
    "batch": ({"query": (3, 4, 5, 6), "key": (2, 7, 6), "value": (3, 2, 7, 3)}, ("key",), {}),
    "bias": ({"query": (3, 4, 5, 6), "key": (3, 2, 7, 6), "value": (3, 2, 7, 3), "bias": (5, 7)},
             ("bias",), {}),
    "query_scale": ({"query": (3, 4, 5, 6), "key": (3, 2, 7, 6), "value": (3, 2, 7, 3),
                     "query_scale": (4, 1)}, ("query", "query_scale"), {}),
    "fixed bias": ({"query": (3, 4, 5, 6), "key": (3, 2, 7, 6), "value": (3, 2, 7, 3),
                    "bias": (5, 7), "query_scale": (4, 5)}, ("query",), {}),
    "sinks": ({"query": (4, 5, 6), "key": (2, 7, 6), "value": (2, 7, 3), "sinks": (4,)},
              ("query", "sinks"), {}),
    "fixed sinks": ({"query": (4, 5, 6), "key": (2, 7, 6), "value": (2, 7, 3), "sinks": (4,)},
                    ("query",), {}),
    "slopes of elements": ({"query": (3, 4, 5, 6), "key": (3, 2, 7, 6), "value": (3, 2, 7, 3),
                            "alibi_slopes": (3, 4)}, ("query",), {}),
    "dropout": ({"query": (4, 5, 6), "key": (2, 7, 6), "value": (2, 7, 3)}, ("query",),
                {"dropout": 0.5, "seed": 3}),
}  # fmt: skip


def problem(name: str) -> tuple[list[str], list[Any], tuple[int | None, ...], dict[str, Any]]:
    shapes, mapped, options = VMAPPED[name]
    dims = tuple(1 if n == "value" and n in mapped else 0 if n in mapped else None for n in shapes)
    made = detached(*((2, *x) if n in mapped else x for n, x in shapes.items()))
    moved = [x.movedim(0, dim) if dim else x for x, dim in zip(made, dims, strict=True)]
    return list(shapes), moved, dims, options


@pytest.mark.parametrize("name", VMAPPED)
def test_vmap_is_a_loop(name: str) -> None:
    names, arrays, dims, options = problem(name)

    def call(*x: Any) -> Any:
        given = dict(zip(names, x, strict=True))
        return adapter.attention(**given, **options, return_lse=True)

    def loss(out: Any, lse: Any) -> Any:
        return out.square().sum() + lse.sin().sum()

    def of_output(out: Any, lse: Any) -> Any:
        return out.square().sum()

    def one(n: int) -> list[Any]:
        return [x if dim is None else x.select(dim, n) for x, dim in zip(arrays, dims, strict=True)]

    for got, *want in zip(
        torch.func.vmap(call, dims)(*arrays), call(*one(0)), call(*one(1)), strict=True
    ):
        assert got.shape == (2, *want[0].shape)
        torch.testing.assert_close(got, torch.stack(want))
    every = tuple(range(len(names)))
    for of in (loss, of_output):
        gradient = torch.func.grad(lambda *x, of=of: of(*call(*x)), every)
        both = list(zip(gradient(*one(0)), gradient(*one(1)), strict=True))
        for got, want in zip(torch.func.vmap(gradient, dims)(*arrays), both, strict=True):
            torch.testing.assert_close(got, torch.stack(want))
        # The other way round: what has been mapped is differentiated.
        leaves = [x.clone().requires_grad_() for x in arrays]
        total = of(*torch.func.vmap(call, dims)(*leaves))
        for got, want, dim in zip(torch.autograd.grad(total, leaves), both, dims, strict=True):
            torch.testing.assert_close(got, sum(want) if dim is None else torch.stack(want, dim))


def test_vmap_of_vmap() -> None:
    query, key, value = (x.requires_grad_() for x in detached(*[(2, 3, 4, 5, 6)] * 3))

    def call(q: Any, k: Any, v: Any) -> Any:
        return adapter.attention(q, k, v, causal=True)

    got = torch.func.vmap(torch.func.vmap(call), (0, None, 0))(query, key[0], value)
    want = call(query, key[:1], value)
    torch.testing.assert_close(got, want)
    inputs = [query, key, value]
    for a, b in zip(
        *(torch.autograd.grad(x.sin().sum(), inputs) for x in (got, want)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["mask", "lengths"])
def test_vmap_over_what_hides(name: str) -> None:
    query, key, value = detached((3, 4, 5, 6), (3, 2, 7, 6), (3, 2, 7, 3))
    option, hidden = {
        "mask": ("mask", torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.5),
        "lengths": ("key_lengths", torch.tensor([[7, 3, 0], [1, 2, 5]])),
    }[name]
    got = torch.func.vmap(lambda x: adapter.attention(query, key, value, **{option: x}))(hidden)
    want = [adapter.attention(query, key, value, **{option: x}) for x in hidden]
    torch.testing.assert_close(got, torch.stack(want))


def test_vmap_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    original = regard.attention

    def spy(**arguments: Any) -> Any:
        calls.append(arguments["query"].shape)
        return original(**arguments)

    monkeypatch.setattr(regard, "attention", spy)
    _, arrays, dims, options = problem("all")
    torch.func.vmap(lambda *x: adapter.attention(*x, **options), dims)(*arrays)
    assert calls == [(2, 4, 5, 6)]


def test_packed_pieces_under_vmap() -> None:
    (x,) = detached((3, 10, 4, 6))
    starts = torch.tensor([0, 3, 10])

    def call(x: Any) -> Any:
        return adapter.varlen_attention(x, x, x, starts, starts)

    got = torch.func.vmap(call)(x)
    torch.testing.assert_close(got, torch.stack([call(one) for one in x]))


def test_jvp_is_that_of_arrays() -> None:
    arrays, moves = detached(*[(4, 5, 6)] * 3), detached(*[(4, 5, 6)] * 6)[3:]
    masks = {"causal": True, "softcap": 2.0}
    out, dout = torch.func.jvp(
        lambda *x: adapter.attention(*x, **masks), tuple(arrays), tuple(moves)
    )
    want = regard.attention_jvp(*(x.numpy() for x in (*arrays, *moves)), **masks)
    np.testing.assert_allclose(out.numpy(), want[0], rtol=1e-12)
    np.testing.assert_array_equal(dout.numpy(), want[1])


@pytest.mark.parametrize("options", [{}, {"causal": True, "softcap": 1.0}], ids=str)
def test_jacobians_agree(options: dict[str, Any]) -> None:
    query, key, value = detached((2, 4, 3), (2, 5, 3), (2, 5, 2))
    for n in range(3):
        backward, forward = (
            mode(lambda *x: adapter.attention(*x, **options), n)(query, key, value)
            for mode in (torch.func.jacrev, torch.func.jacfwd)
        )
        torch.testing.assert_close(backward, forward)


def test_hessians_are_refused() -> None:
    (x,) = detached((2, 3, 4))

    def loss(x: Any) -> Any:
        return adapter.attention(x, x, x).square().sum()

    for derivative in (
        torch.func.hessian(loss),
        torch.func.jacrev(torch.func.grad(loss)),
        lambda x: torch.func.jvp(torch.func.grad(loss), (x,), (x,)),
    ):
        with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
            derivative(x)


def test_objects_among_the_options() -> None:
    (x,) = detached((3, 2, 20, 4))
    for option in (
        {"mask": regard.masks.causal(20, 20, block_size=16)},
        {"position_bias": regard.bias.Relative(np.arange(9.0))},
        {"window": (np.array([1, 2]), None)},
    ):
        got = torch.func.vmap(lambda x, option=option: adapter.attention(x, x, x, **option))(x)
        torch.testing.assert_close(got, adapter.attention(x, x, x, **option))
