"""Layers of `regard.nn` with the weights of torch's modules: outputs and gradients of both."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from regard import nn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")

HEADS, FEATURES, HIDDEN = 4, 16, 24
BATCH, TOKENS, KEYS = 3, 6, 5
LENGTHS = np.array([6, 2, 4])
MEMORY_LENGTHS = np.array([3, 5, 1])
DTYPES = {"float32": 1e-5, "float64": 1e-12}
ACTIVATIONS = {
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu_squared": lambda x: torch.relu(x).square(),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "identity": lambda x: x,
}

# What torch and what regard is told, of the tokens among themselves.
MASKS = ("none", "bool", "float", "causal")
GRID = list(itertools.product(DTYPES, (False, True), MASKS, (False, True)))
IDS = ["-".join((d, "pre" if f else "post", m, "padded" if p else "full")) for d, f, m, p in GRID]


def mask_of(kind: str, queries: int, keys: int, dtype: str) -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(3)
    if kind == "bool":
        sees = rng.random((queries, keys)) < 0.6
        sees[:, 0] = True  # which no length takes away: torch makes NaN of rows that see nothing
        return torch.tensor(~sees), {"mask": sees}
    if kind == "float":
        bias = rng.standard_normal((queries, keys)).astype(dtype)
        return torch.tensor(bias), {"bias": bias}
    if kind == "causal":
        return torch.ones(queries, keys).triu(1).bool(), {"causal": True}
    return None, {}


def padding(lengths: np.ndarray, keys: int) -> Any:
    return torch.tensor(np.arange(keys) >= lengths[:, None])


def inputs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, TOKENS, FEATURES)).astype(dtype)
    return x, rng.standard_normal((BATCH, KEYS, FEATURES)).astype(dtype)


def arrays_of(module: Any) -> dict[str, np.ndarray]:
    return {name: x.detach().numpy() for name, x in module.state_dict().items()}


def made(module: Any, dtype: str) -> Any:
    """A module without dropout, all of whose weights are random, those of norms and biases too."""
    torch.manual_seed(0)
    module = module.to(getattr(torch, dtype)).train()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module


def check(
    module: Any, theirs: Any, given: list[Any], ours: np.ndarray, grads: Any, back: Any,
    bound: float, of: tuple[str, ...] = ("x", "memory"),
) -> None:  # fmt: skip
    """Outputs, then gradients of a loss that weighs each number of the output otherwise."""
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=bound, rtol=bound)
    dout = np.random.default_rng(1).standard_normal(ours.shape).astype(ours.dtype)
    theirs.backward(torch.tensor(dout))
    found = back(dout)
    for name, x in zip(of, given, strict=False):
        close(getattr(found, name), x.grad.numpy(), bound, name)
    wanted = dict(module.named_parameters())
    assert set(found.parameters) == set(wanted)
    for name, p in wanted.items():
        close(found.parameters[name], p.grad.numpy(), bound, name)


def close(ours: np.ndarray, theirs: np.ndarray, bound: float, name: str) -> None:
    scale = max(1.0, float(np.abs(theirs).max()))
    error = float(np.abs(ours - theirs).max()) / scale
    assert error < bound, f"{name}: {error}"


def leaves(*arrays: np.ndarray) -> list[Any]:
    return [torch.tensor(a, requires_grad=True) for a in arrays]


@pytest.mark.parametrize(("dtype", "norm_first", "kind", "padded"), GRID, ids=IDS)
def test_encoder(dtype, norm_first, kind, padded):
    layer = torch.nn.TransformerEncoderLayer(
        FEATURES, HEADS, HIDDEN, 0.0, "gelu", batch_first=True, norm_first=norm_first
    )
    norm = torch.nn.LayerNorm(FEATURES)
    module = made(torch.nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False), dtype)
    x, _ = inputs(dtype)
    (given,) = leaves(x)
    mask, options = mask_of(kind, TOKENS, TOKENS, dtype)
    keys = padding(LENGTHS, TOKENS) if padded else None
    if padded and mask is not None and mask.dtype != torch.bool:
        keys = torch.zeros(keys.shape, dtype=mask.dtype).masked_fill(keys, -torch.inf)
    theirs = module(given, mask=mask, src_key_padding_mask=keys)
    if padded:
        options["key_mask"] = np.arange(TOKENS) < LENGTHS[:, None]
    ours = nn.TransformerEncoder.from_state_dict(
        arrays_of(module), num_heads=HEADS, activation="gelu", norm_first=norm_first
    )
    out, back = ours.vjp(x, **options)
    np.testing.assert_array_equal(ours(x, **options), out)
    check(module, theirs, [given], out, None, back, DTYPES[dtype])


@pytest.mark.parametrize(("dtype", "norm_first", "kind", "padded"), GRID, ids=IDS)
def test_transformer(dtype, norm_first, kind, padded):
    module = made(
        torch.nn.Transformer(
            FEATURES, HEADS, 1, 2, HIDDEN, 0.0, batch_first=True, norm_first=norm_first
        ),
        dtype,
    )
    target, source = inputs(dtype)
    to_decode, to_encode = leaves(target, source)
    mask, options = mask_of(kind, TOKENS, TOKENS, dtype)
    across, memory_options = mask_of(kind, TOKENS, KEYS, dtype)
    within, source_options = mask_of(kind, KEYS, KEYS, dtype)
    if kind == "causal":
        across, memory_options = None, {}
    options |= {f"memory_{n}": x for n, x in memory_options.items()}
    options |= {f"src_{n}": x for n, x in source_options.items()}
    theirs_options: dict[str, Any] = {"src_mask": within, "tgt_mask": mask, "memory_mask": across}
    if padded:
        hidden = {"tgt": padding(LENGTHS, TOKENS), "src": padding(MEMORY_LENGTHS, KEYS)}
        hidden["memory"] = hidden["src"]
        for name, keys in hidden.items():
            like = theirs_options[f"{name}_mask"]
            if like is not None and like.dtype != torch.bool:
                keys = torch.zeros(keys.shape, dtype=like.dtype).masked_fill(keys, -torch.inf)
            theirs_options[f"{name}_key_padding_mask"] = keys
        options["key_mask"] = np.arange(TOKENS) < LENGTHS[:, None]
        options["src_key_lengths"] = options["memory_key_lengths"] = MEMORY_LENGTHS
        if kind == "causal":  # whose positions lengths would count from the end
            del options["src_key_lengths"]
            options["src_key_mask"] = np.arange(KEYS) < MEMORY_LENGTHS[:, None]
    theirs = module(to_encode, to_decode, **theirs_options)
    ours = nn.Transformer.from_state_dict(arrays_of(module), num_heads=HEADS, norm_first=norm_first)
    out, back = ours.vjp(source, target, **options)
    np.testing.assert_array_equal(ours(source, target, **options), out)
    check(module, theirs, [to_decode, to_encode], out, None, back, DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, dtype):
    x = np.concatenate((np.linspace(-12, 12, 4001), [0.0, -0.0, 50.0, -50.0])).astype(dtype)
    x = x[x != 0] if activation == "relu" else x  # whose derivative there is a matter of taste
    (given,) = leaves(x)
    theirs = ACTIVATIONS[activation](given)
    theirs.backward(torch.ones_like(theirs))
    out, back = nn.ACTIVATIONS[activation].vjp(x)
    bound = DTYPES[dtype]
    np.testing.assert_allclose(out, theirs.detach().numpy(), atol=bound, rtol=bound)
    np.testing.assert_allclose(back(np.ones_like(x)).x, given.grad.numpy(), atol=bound, rtol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_attention_of_three_inputs(dtype, bias, apart):
    sizes = {"kdim": 10, "vdim": 7} if apart else {}
    module = made(
        torch.nn.MultiheadAttention(FEATURES, HEADS, bias=bias, batch_first=True, **sizes), dtype
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, TOKENS, FEATURES)).astype(dtype)
    memory = rng.standard_normal((BATCH, KEYS, sizes.get("kdim", FEATURES))).astype(dtype)
    value = rng.standard_normal((BATCH, KEYS, sizes.get("vdim", FEATURES))).astype(dtype)
    given = leaves(x, memory, value)
    theirs = module(*given, key_padding_mask=padding(MEMORY_LENGTHS, KEYS), need_weights=False)[0]
    layer = nn.MultiHeadAttention.from_state_dict(arrays_of(module), num_heads=HEADS)
    out, back = layer.vjp(x, memory, value, key_lengths=MEMORY_LENGTHS)
    check(module, theirs, given, out, None, back, DTYPES[dtype], ("x", "memory", "value"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_layers(dtype):
    x, _ = inputs(dtype)
    tokens = np.array([[1, 4, 1], [0, 2, 4]])
    for module, layer, given in (
        (torch.nn.Linear(FEATURES, 7), nn.Linear, x),
        (torch.nn.Linear(FEATURES, 7, bias=False), nn.Linear, x),
        (torch.nn.LayerNorm(FEATURES), nn.LayerNorm, x),
        (torch.nn.LayerNorm(FEATURES, bias=False), nn.LayerNorm, x),
        (torch.nn.RMSNorm(FEATURES), nn.RMSNorm, x),
        (torch.nn.Embedding(5, 3), nn.Embedding, tokens),
    ):
        made(module, dtype)
        ours = layer.from_state_dict(arrays_of(module))
        leaf = torch.tensor(given, requires_grad=given.dtype != np.int64)
        out, back = ours.vjp(given)
        np.testing.assert_array_equal(ours(given), out)
        leaves_ = [leaf] if leaf.requires_grad else []
        check(module, module(leaf), leaves_, out, None, back, DTYPES[dtype])


def test_layers_without_biases_and_weights_of_16_bits():
    module = made(
        torch.nn.TransformerDecoderLayer(
            FEATURES, HEADS, HIDDEN, 0.0, batch_first=True, bias=False
        ),
        "float32",
    ).to(torch.bfloat16)
    ours = nn.TransformerDecoderLayer.from_state_dict(module.state_dict(), num_heads=HEADS)
    wide = module.float()
    x, memory = inputs("float32")
    theirs = wide(torch.tensor(x), torch.tensor(memory)).detach().numpy()
    np.testing.assert_allclose(ours(x, memory), theirs, atol=1e-5, rtol=1e-5)


def test_a_state_dict_goes_back():
    module = torch.nn.Transformer(FEATURES, HEADS, 1, 1, HIDDEN, 0.0, batch_first=True)
    other = torch.nn.Transformer(FEATURES, HEADS, 1, 1, HIDDEN, 0.0, batch_first=True)
    ours = nn.Transformer.from_state_dict(arrays_of(module), num_heads=HEADS)
    assert list(ours.state_dict()) == list(module.state_dict())
    other.load_state_dict({n: torch.tensor(x) for n, x in ours.state_dict().items()})
    target, source = (torch.tensor(x) for x in inputs("float32"))
    assert torch.equal(module(source, target), other(source, target))
