"""Memory grows with the output, not with queries times keys, and no input is copied whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MIB = 1 << 20

# VmHWM is the peak of this process alone; getrusage's starts from that of the process that forked.
MEASURE = """
import sys
import numpy as np
import regard

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

{setup}
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # the peak starts anew from what is resident now
before = status("VmRSS")
out = {call}
print(status("VmHWM") - before - out.nbytes)
assert np.isfinite(out).all()
"""

pytestmark = [
    pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux"),
    pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="ASan keeps memory"),
]


def extra_bytes(setup: str, call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(setup=setup, call=call)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_long_sequences():
    setup = """
query, key, value = np.random.default_rng(0).standard_normal((3, 1, 8, 16384, 64), np.float32)
"""
    assert extra_bytes(setup, "regard.attention(query, key, value, causal=True)") <= 16 * MIB


@pytest.mark.parametrize("option", ["mask", "bias", "key_lengths"])
def test_broadcast_masks_and_biases_are_not_expanded(option):
    setup = """
query, key, value = np.random.default_rng(0).standard_normal((3, 1, 8, 4096, 32), np.float32)
mask = np.arange(4096) % 3 > 0
bias = np.linspace(-1, 1, 4096, dtype=np.float32)
key_lengths = 4000
"""
    call = f"regard.attention(query, key, value, {option}={option})"
    assert extra_bytes(setup, call) <= 16 * MIB


VIEWS = {
    "(batch, length, heads, dim)": "x.reshape(1, 8, 32768, 64).transpose(0, 2, 1, 3)[:, :4]",
    "last axis strided": "x.reshape(1, 4, 65536, 64)[..., ::2]",
    "last axis reversed": "x.reshape(1, 4, 65536, 64)[..., ::-1]",
    "Fortran order": "x.reshape(64, 65536, 4, 1).T",
    "unaligned": "np.frombuffer(b'-' + x.tobytes(), x.dtype, offset=1).reshape(1, 4, 65536, 64)",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("view", VIEWS)
def test_views_of_any_stride_are_not_copied(view, dtype):
    """Few queries over a key array whose copy would show: 32 MiB at least."""
    setup = f"""
x = np.random.default_rng(0).standard_normal(1 << 24, np.{dtype})
key = {VIEWS[view]}
query = np.ones((1, 4, 3, key.shape[-1]), np.{dtype})
"""
    assert extra_bytes(setup, "regard.attention(query, key, key)") <= 16 * MIB


def test_broadcast_axes_are_not_expanded():
    """64 heads that are one head in memory."""
    setup = """
row = np.random.default_rng(0).standard_normal((1, 1, 50000, 32), np.float32)
key = np.broadcast_to(row, (1, 64, 50000, 32))
query = np.ones((1, 64, 1, 32), np.float32)
"""
    assert extra_bytes(setup, "regard.attention(query, key, key)") <= 16 * MIB


@pytest.mark.parametrize("options", ["causal=True", "window=(300, 0)"])
def test_gradients_of_long_sequences(options):
    """Linear in the length: the gradients, output and LSE, and scratch."""
    setup = f"""
query, key, value = np.random.default_rng(0).standard_normal((3, 1, 1, 32768, 64), np.float32)
def gradients():
    out, vjp = regard.attention_vjp(query, key, value, {options})
    grads = vjp(query)
    return np.stack([grads.query, grads.key, grads.value])
"""
    arrays = 4 * 32768 * 64 * 4 + 32768 * 4  # gradients once more, as they are, out, and the LSE
    assert extra_bytes(setup, "gradients()") <= arrays + 16 * MIB


def test_a_call_leaves_nothing_behind():
    setup = """
query, key, value = np.random.default_rng(0).standard_normal((3, 2, 60, 16), np.float32)
out = np.empty_like(query)
mask = np.ones((60, 60), bool)
def calls(n):
    for _ in range(n):
        regard.attention(query, key, value, mask=mask, out=out, return_lse=True)
        try:
            regard.attention(query, key[:, :-1], value, out=out)
        except ValueError:
            pass
    return out
calls(100)
"""
    assert extra_bytes(setup, "calls(20_000)") <= 1 * MIB
