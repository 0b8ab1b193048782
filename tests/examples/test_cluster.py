"""The cluster of the example: what it computes is right, and the worker that it kills is missed."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("distributed")

import cluster


def test_a_worker_is_killed_and_nothing_is_silently_missing(capsys):
    assert cluster.main(["--tokens", "400", "--workers", "3"]) == 0
    printed = capsys.readouterr().out
    assert "10 of 16 pairs of chunks are computed" in printed
    for apart in re.findall(r"by (\de-\d+)", printed):
        assert float(apart) < 1e-5
    assert "the output is bitwise the same: True" in printed
    assert "LostTokens: 0 .. 399 are gone" in printed
    assert "the output is that of before: True" in printed
