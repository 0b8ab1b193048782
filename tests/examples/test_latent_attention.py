"""The example of latent attention: both forms agree, and the bytes are those of a row."""

from __future__ import annotations

import pytest

import latent_attention


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_plain_and_absorbed_agree(capsys, dtype, bound):
    assert latent_attention.main(["--heads", "12", "--tokens", "530", "--dtype", dtype]) < bound
    size = 4 if dtype == "float32" else 2
    assert f"latent row of 576 numbers: {576 * size} bytes" in capsys.readouterr().out


def test_the_rope_matters():
    """A cache without it gives another result: the comparison can fail."""
    rope = latent_attention.Rope
    try:
        latent_attention.Rope = lambda **_: None
        assert latent_attention.main(["--heads", "12", "--tokens", "60"]) > 1e-3
    finally:
        latent_attention.Rope = rope
