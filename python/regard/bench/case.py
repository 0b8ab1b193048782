"""One problem: a shape and its options, what it costs, and how tables call it.

A case has no arrays; :func:`regard.bench.inputs.make_inputs` draws those.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from regard.bench import storage

# Products of a forward and a backward pass, five of them in the latter, over the former's two.
WITH_GRADIENTS = 3.5

TILE = 128  # rows and columns of a block mask's tiles

# How the tables call each option. "bias" is the array of the case, "summary" another function,
# "blocks" a block mask of the case's density.
TITLES = {
    "softcap": "softcap",
    "alibi": "ALiBi",
    "sinks": "sinks",
    "dropout": "dropout 0.1",
    "t5": "T5 bias",
    "relative": "relative bias",
    "bias": "bias array",
    "cosine": "cosine",
    "summary": "attention_summary",
    "blocks": "block mask",
    "score-mod": "compiled score_mod",
}


@dataclass(frozen=True)
class Case:
    """One problem: a shape (batch, heads, length, head_dim) and its options.

    `model` names a model that runs the shape. `window` counts keys as most models do: a causal
    query sees itself and the ``window - 1`` keys before it. A causal case is square, because
    libraries disagree about what any other means. `mask` is ``"random"``, a full
    (batch, heads, length, key_length) array, or ``"key_padding"``, a (batch, 1, 1, key_length)
    array that is broadcast. `latent` counts the first columns of a key that are its value too; with
    0, values are arrays of their own. `option` is one of :data:`TITLES`; `density` is the share of
    the tiles that ``"blocks"`` leaves. `cache` is the type of keys and values where it is not
    `dtype`. In the groups ``"backward"`` and ``"backward-options"`` a call is the forward and the
    backward pass.
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
    latent: int = 0
    model: str = ""
    quick: bool = False

    def __post_init__(self) -> None:
        """Refuse what the counts do not cover, or libraries disagree about."""
        if self.causal and self.length != self.key_length:
            raise ValueError(f"case {self.name}: a causal case must be square")
        blocks = self.option == "blocks"
        if blocks and (self.length != self.key_length or self.length % TILE):
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
        value_dim = f"/{self.latent}" if self.latent else ""
        return f"{self.batch}x{heads}x{length}x{self.head_dim}{value_dim}"

    @property
    def value_dim(self) -> int:
        """Columns of a value."""
        return self.latent or self.head_dim

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
            words.append(TITLES[self.option])
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
            return float(block_tiles(self.length, self.density) * TILE**2)
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
        forward = 2.0 * self.batch * self.heads * self.pairs * (self.head_dim + self.value_dim)
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
        rows = (1 if self.latent else 2) * self.batch * self.kv_heads * self.key_length
        scale = 4 if self.stored == "int8" else 0
        return rows * (self.head_dim * storage.BYTES[self.stored] + scale)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


def block_tiles(length: int, density: float) -> int:
    """Tiles of a head's mask that are not empty: the share of them all, and one a row at least."""
    rows = length // TILE
    return max(rows, round(density * rows * rows))
