"""What a user writes: it has to run, and to pass mypy and pyright in their strict modes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard

rng = np.random.default_rng(0)
x = rng.standard_normal((2, 4, 6, 8)).astype(np.float32)


def heads(features: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Cut features into heads, tokens first."""
    return features.reshape(*features.shape[:-1], count, -1)


# Results have shapes, whatever was asked for.
out = regard.attention(x, x, x, causal="upper_left", window=(3, None), key_mask=x[:, 0, :, 0] > 0)
print(out.shape, out.dtype)
out, lse = regard.attention(x, x, x, return_lse=True, layout="BHSD")
print(out.shape, lse.shape)
for return_lse in (True, False):
    either = regard.attention(x, x, x, return_lse=return_lse)
    print(len(either) if isinstance(either, tuple) else either.shape)
tokens = heads(rng.standard_normal((2, 6, 32)).astype(np.float32), 4)
print(regard.attention(tokens, tokens, tokens, layout="BSHD").reshape(2, 6, 32).shape)

packed = x[0].swapaxes(0, 1)
cuts = np.array([0, 2, 6])
print(regard.varlen_attention(packed, packed, packed, cuts, cuts, causal=True).shape)
pieces, piece_lse = regard.varlen_attention(packed, packed, packed, cuts, cuts, return_lse=True)
print(pieces.shape, piece_lse.shape)

print(regard.attention_weights(x, x, rows=[-1], causal=True, softcap=20.0).shape)
print(regard.attention_summary(x, x, alibi_slopes=regard.alibi_slopes(4)).entropy.shape)
print(regard.explain(x, x, x, dropout=0.1, seed=3, num_threads=1).kernel.split("/")[0])

out, vjp = regard.attention_vjp(x, x, x, bias=np.zeros((6, 6), np.float32), causal=True)
gradients = vjp(np.ones_like(out), wrt=["bias", "query"])
print(gradients.bias.shape, gradients.query.mean().shape, [g.shape for g in gradients])
out, moved = regard.attention_jvp(x, x, x, dkey=x)
print(out.shape, moved.shape)
(out, lse), (moved, moved_lse) = regard.attention_jvp(x, x, x, x, return_lse=True)
print(lse.shape, moved_lse.shape)

cache = regard.KVCache(batch=2, kv_heads=4, head_dim=8, capacity=10, dtype="float32")
cache.append(x, x, rope=regard.positions.Rope())
print(cache.attend(x[:, :, -1:], softcap=5.0).shape)
attended, attended_lse = cache.attend(x, return_lse=True)
print(attended.shape, attended_lse.shape)

codes, scales = regard.quantize_kv(x)
print(codes.shape, scales.shape)
merged, _ = regard.merge_states([out, out], [lse, lse])
print(regard.positions.rope(merged).shape)
mask: regard.BlockMask = regard.masks.documents([0, 0, 1]) & ~regard.masks.causal(3, 3)
bias: regard.bias.PositionBias = regard.bias.T5(np.zeros(32))
oracle: NDArray[Any] = regard.reference.attention(x, x, x, mask=x[..., :1] > 0, layout="BHSD")
print(mask.density, bias.to_dense(2, 2).shape, oracle.shape)
