"""The problems that are measured: shapes that people run, and what each one costs.

A case is a shape and its options, no arrays; :func:`make_inputs` draws the arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.bench import options, storage

Array = NDArray[Any]

# Products of a forward and a backward pass, five of them in the latter, over the former's two.
WITH_GRADIENTS = 3.5


@dataclass(frozen=True)
class Case:
    """One problem: a shape (batch, heads, length, head_dim) and its options.

    `model` names a model that runs the shape. `window` counts keys as most models do: a causal
    query sees itself and the ``window - 1`` keys before it. A causal case is square, because
    libraries disagree about what any other means. `mask` is ``"random"``, a full
    (batch, heads, length, key_length) array, or ``"key_padding"``, a (batch, 1, 1, key_length)
    array that is broadcast. `option` is one of :data:`regard.bench.options.TITLES`; `density` is
    the share of the tiles that ``"blocks"`` leaves. `cache` is the type of keys and values where it
    is not `dtype`. In the groups ``"backward"`` and ``"backward-options"`` a call is the forward
    and the backward pass.
    """

    name: str
    group: str
    batch: int
    heads: int
    kv_heads: int
    length: int
    key_length: int
    head_dim: int
    dtype: str = "float32"
    causal: bool = False
    window: int | None = None
    mask: str | None = None
    bias: bool = False
    option: str = ""
    density: float = 1.0
    layout: str = "bhnd"
    cache: str = ""
    model: str = ""
    quick: bool = False

    def __post_init__(self) -> None:
        """Refuse what the counts and the rivals do not cover."""
        if self.causal and self.length != self.key_length:
            raise ValueError(f"case {self.name}: a causal case must be square")
        blocks = self.option == "blocks"
        if blocks and (self.length != self.key_length or self.length % options.TILE):
            raise ValueError(f"case {self.name}: a block mask must be square, of whole tiles")
        if self.option and self.causal == blocks:
            raise ValueError(f"case {self.name}: options are causal, and block masks are not")
        if self.backward and self.option and self.batch > 1:
            raise ValueError(f"case {self.name}: gradients by options add up over the batch")

    @property
    def shape(self) -> str:
        """The shape as it is usually written, for example ``1x16/4x2048x128``."""
        heads = str(self.heads)
        if self.kv_heads != self.heads:
            heads += f"/{self.kv_heads}"
        length = str(self.length)
        if self.key_length != self.length:
            length += f":{self.key_length}"
        return f"{self.batch}x{heads}x{length}x{self.head_dim}"

    @property
    def title(self) -> str:
        """A line for tables: the shape and everything that is not the default."""
        words = [self.model, self.shape] if self.model else [self.shape]
        if self.window is not None:
            words.append(f"window {self.window}")
        elif self.causal:
            words.append("causal")
        if self.mask is not None:
            words.append(f"{self.mask.replace('_', '-')} mask")
        if self.option:
            words.append(options.TITLES[self.option])
        elif self.bias:
            words.append("bias")
        if self.option == "blocks":
            words.append(f"{100 * self.density:.0f} %")
        if self.layout != "bhnd":
            words.append(f"{self.layout.upper()} strides")
        if self.dtype != "float32":
            words.append(self.dtype)
        if self.cache:
            words.append(f"{self.cache} cache")
        if self.backward:
            words.append("gradients")
        return " ".join(words)

    @property
    def pairs(self) -> float:
        """(query, key) pairs per head whose score is useful.

        A square causal problem counts as half of the full one, as everybody counts it; a window
        and a block mask are counted exactly; padding keys do not count. All pairs of a random mask
        do, because nobody can leave out single ones.
        """
        if self.window is not None:
            width = min(self.window, self.length)
            return width * self.length - width * (width - 1) / 2
        if self.causal:
            return self.length * self.key_length / 2
        if self.option == "blocks":
            return float(options.block_tiles(self.length, self.density) * options.TILE**2)
        return float(self.length * self.real_keys)

    @property
    def real_keys(self) -> int:
        """Keys that are not padding: three quarters of them in a padded case."""
        if self.mask == "key_padding":
            return self.key_length * 3 // 4
        return self.key_length

    @property
    def backward(self) -> bool:
        """Whether gradients are computed too: of everything that has some."""
        return self.group.startswith("backward")

    @property
    def flops(self) -> float:
        """Useful floating-point operations: two products, a multiply and an add each."""
        forward = 4.0 * self.batch * self.heads * self.pairs * self.head_dim
        return WITH_GRADIENTS * forward if self.backward else forward

    @property
    def stored(self) -> str:
        """Type that keys and values lie in."""
        return self.cache or self.dtype

    @property
    def bound_by_memory(self) -> bool:
        """Whether reading keys and values, and not computing, sets the limit."""
        return self.group == "decode"

    @property
    def bytes(self) -> int:
        """Bytes of keys and values, and of their scales: what has to be read once."""
        rows = 2 * self.batch * self.kv_heads * self.key_length
        scale = 4 if self.stored == "int8" else 0
        return rows * (self.head_dim * storage.BYTES[self.stored] + scale)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arrays of one case, query, key and value as (batch, heads, length, head_dim).

    `more` are the keyword arguments of the case's option, `dout` the derivatives of a loss by the
    output where gradients are computed.
    """

    query: Array
    key: Array
    value: Array
    mask: Array | None = None
    bias: Array | None = None
    more: dict[str, Any] = field(default_factory=dict)
    dout: Any = None


def make_inputs(case: Case, rng: np.random.Generator) -> Inputs:
    """Draw random arrays for a case.

    Parameters
    ----------
    case : Case
    rng : numpy.random.Generator

    Returns
    -------
    Inputs
        Standard normal query, key and value (and bias), of the case's dtype and layout.
    """
    dtype = np.dtype(storage.computed_in(case.dtype))

    def draw(heads: int, length: int) -> Array:
        stored = (case.batch, heads, length, case.head_dim)
        if case.layout == "bnhd":
            stored = (case.batch, length, heads, case.head_dim)
        array: Array = rng.standard_normal(stored, dtype=dtype.type)
        return array.transpose(0, 2, 1, 3) if case.layout == "bnhd" else array

    full = (case.batch, case.heads, case.length, case.key_length)
    mask: Array | None = None
    if case.mask == "random":
        mask = rng.random(full, dtype=np.float32) < 0.5
    elif case.mask == "key_padding":
        mask = np.arange(case.key_length) < case.real_keys
        mask = np.broadcast_to(mask, (case.batch, 1, 1, case.key_length)).copy()
    bias = rng.standard_normal(full, dtype=dtype.type) if case.bias else None
    query, _ = storage.store(draw(case.heads, case.length), case.dtype)
    key, key_scales = storage.store(draw(case.kv_heads, case.key_length), case.stored)
    value, value_scales = storage.store(draw(case.kv_heads, case.key_length), case.stored)
    more = options.draw(case, rng)
    if key_scales is not None:
        more |= {"key_scales": key_scales, "value_scales": value_scales}
    dout = storage.store(draw(case.heads, case.length), case.dtype)[0] if case.backward else None
    return Inputs(query, key, value, mask=mask, bias=bias, more=more, dout=dout)


def options_of(case: Case, inputs: Inputs) -> dict[str, Any]:
    """Return the keyword arguments with which regard computes this case."""
    words = dict(inputs.more)
    if case.causal:
        words["causal"] = True
    if case.window is not None:
        words["window"] = (case.window - 1, 0)
    if inputs.mask is not None:
        words["mask"] = inputs.mask
    if inputs.bias is not None:
        words["bias"] = inputs.bias
    return words


def _square(name: str, group: str, heads: int, length: int, head_dim: int, **more: Any) -> Case:
    more = {"batch": 1, "kv_heads": heads, **more}
    return Case(
        name, group, heads=heads, length=length, key_length=length, head_dim=head_dim, **more
    )


def _option(name: str, **more: Any) -> Case:
    return _square(f"option-{name}", "options", 8, 4096, 64, causal=True, option=name, **more)


def _halves(dtype: str) -> Iterator[Case]:
    """Forward in 16 bits."""
    short, group = storage.SHORT[dtype], "storage"
    yield _square(f"{short}-1k-d64", group, 8, 1024, 64, dtype=dtype, quick=True)
    yield _square(f"{short}-4k-d64", group, 8, 4096, 64, dtype=dtype)
    yield _square(f"{short}-4k-d64-causal", group, 8, 4096, 64, dtype=dtype, causal=True)
    yield _square(f"{short}-2k-d128-gqa4", group, 16, 2048, 128, kv_heads=4, dtype=dtype)


def _decode(stored: str) -> Iterator[Case]:
    """One query for a cache: a long one, one with a head of its own each, and eight long ones."""
    end = "" if stored == "float32" else f"-{storage.SHORT[stored]}"
    dtype, cache = ("float32", stored) if stored == "int8" else (stored, "")
    for name, batch, heads, kv_heads, keys, head_dim in (
        ("4k-d128-gqa4", 1, 32, 8, 4096, 128),
        ("8x12-1k-d64", 8, 12, 12, 1024, 64),
        ("8x-4k-d128-gqa4", 8, 32, 8, 4096, 128),
    ):
        yield Case(
            f"decode-{name}{end}", "decode", batch, heads, kv_heads, 1, keys, head_dim,
            dtype=dtype, cache=cache, quick=name == "4k-d128-gqa4",
        )  # fmt: skip


def _backward() -> Iterator[Case]:
    """Forward and backward; what each option adds to that, also by its own gradient."""
    for causal in (False, True):
        for length, head_dim in itertools.product((1024, 4096), (64, 128)):
            name = f"backward-{length // 1024}k-d{head_dim}" + "-causal" * causal
            quick = (length, head_dim) == (1024, 64)
            yield _square(name, "backward", 8, length, head_dim, causal=causal, quick=quick)
    for causal in (False, True):
        name = "backward-one-head-8k-d64" + "-causal" * causal
        yield _square(name, "backward", 1, 8192, 64, causal=causal)
    yield _square("backward-2k-d128-gqa4", "backward", 16, 2048, 128, kv_heads=4, causal=True)
    yield _square("backward-bert-8x12x128", "backward", 12, 128, 64, batch=8, model="BERT")
    yield _square("backward-bf16-1k-d64", "backward", 8, 1024, 64, dtype="bfloat16")
    for option in ("softcap", "alibi", "sinks", "dropout", "t5", "relative", "bias", "cosine"):
        more: dict[str, Any] = {"option": option, "bias": option == "bias"}
        yield _square(f"backward-{option}", "backward-options", 8, 1024, 64, causal=True, **more)
    yield _square("backward-window", "backward-options", 8, 4096, 64, causal=True, window=512)


CASES: tuple[Case, ...] = (
    _square("full-1k-d64", "full", 8, 1024, 64, quick=True),
    _square("full-4k-d64", "full", 8, 4096, 64),
    _square("full-2k-d128-gqa4", "full", 16, 2048, 128, kv_heads=4),
    _square("full-1k-d80", "full", 8, 1024, 80),
    _square("full-1k-d96", "full", 8, 1024, 96),
    _square("full-1021-d64", "full", 8, 1021, 64, quick=True),
    _square("full-1k-d64-bnhd", "full", 8, 1024, 64, layout="bnhd"),
    _square("causal-256-d64", "causal", 8, 256, 64, causal=True),
    _square("causal-1k-d64", "causal", 8, 1024, 64, causal=True, quick=True),
    _square("causal-4k-d64", "causal", 8, 4096, 64, causal=True),
    _square("causal-2k-d128-gqa4", "causal", 16, 2048, 128, kv_heads=4, causal=True),
    _square("bert-8x12x128", "short", 12, 128, 64, batch=8, model="BERT", quick=True),
    _square("vit-8x12x197", "short", 12, 197, 64, batch=8, model="ViT", quick=True),
    _square("minilm-32x12x64", "short", 12, 64, 32, batch=32, model="MiniLM", quick=True),
    _square("full-1k-d64-float64", "float64", 8, 1024, 64, dtype="float64", quick=True),
    _square("mask-random-1k-d64", "mask", 8, 1024, 64, mask="random", quick=True),
    _square("mask-padding-1k-d64", "mask", 8, 1024, 64, mask="key_padding"),
    _square("bias-1k-d64", "mask", 8, 1024, 64, bias=True, quick=True),
    _square("window-128-of-4k", "window", 8, 4096, 64, causal=True, window=128),
    _square("window-256-of-4k", "window", 8, 4096, 64, causal=True, window=256),
    _square("window-512-of-4k", "window", 8, 4096, 64, causal=True, window=512),
    *(case for dtype in ("bfloat16", "float16") for case in _halves(dtype)),
    *(case for stored in storage.SHORT for case in _decode(stored)),
    *(_option(name) for name in options.TITLES if name not in ("bias", "blocks")),
    _option("bias", bias=True),
    *(
        _square(f"blocks-{percent}", "options", 8, 4096, 64, option="blocks", density=percent / 100)
        for percent in (50, 25, 10)
    ),
    *_backward(),
    _square("smallest-call", "call", 1, 4, 2, quick=True),
)
