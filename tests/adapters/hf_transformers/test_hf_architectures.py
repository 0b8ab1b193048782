"""Every architecture of transformers gives eager's numbers: a sample, and all with a marker.

pytest tests/adapters/hf_transformers -m sweep    # five minutes
"""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers.models")
adapter: Any = pytest.importorskip("regard.transformers")
from benchmarks.adapters import __main__ as run  # noqa: E402
from benchmarks.adapters import checks, page, trials  # noqa: E402
from benchmarks.adapters.architectures import architectures  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of models with strange sizes; ours are tested

ALL = {architecture.name: architecture for architecture in architectures()}
#: Decoders with grouped heads, windows, softcap, sinks, chunks, latent keys, keys chosen one by one
#: and in blocks, state spaces; encoders, encoder-decoders, vision, speech.
SAMPLE = [
    name
    for name in (
        *("llama", "mistral", "gemma2", "gemma3_text", "gpt_oss", "llama4_text", "deepseek_v3"),
        *("deepseek_v32", "minimax_m3_vl_text"),
        *("gpt2", "opt", "qwen3_next", "bert", "modernbert", "bart", "t5", "whisper", "vit"),
    )
    if name in ALL
]

#: Differences that are known, with their reason.
KNOWN: dict[tuple[str, str], str] = {}


def check(name: str) -> checks.Verdicts:
    verdicts = checks.check(ALL[name])
    failed = {which: told for which, told in verdicts.failed.items() if (name, which) not in KNOWN}
    assert not failed, checks.describe(verdicts)
    return verdicts


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample(name: str) -> None:
    verdicts = check(name)
    if not verdicts.skipped:  # an earlier transformers
        assert verdicts.found["forward"] == verdicts.found["gradients"] == trials.SAME


@pytest.mark.sweep
@pytest.mark.parametrize("name", [name for name in ALL if name not in SAMPLE])
def test_every_architecture(name: str) -> None:
    check(name)


def test_a_wrong_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself can fail: here windows are one key too long."""
    masks = adapter._masks
    right = masks.mask_options

    def wrong(*arguments: Any) -> Any:
        route, options = right(*arguments)
        if "window" in options:
            left, after = options["window"]
            options["window"] = left + 1, after
        return route, options

    monkeypatch.setattr(masks, "mask_options", wrong)
    verdicts = checks.check(ALL["mistral"])
    assert {"forward", "gradients", "left"} <= set(verdicts.failed)
    assert "forward" not in checks.check(ALL["llama"]).failed


def test_the_page_shows_the_worst_of_each_column() -> None:
    rows = [
        checks.Verdicts("a", "decoder", found={"forward": "yes", "left": "own", "right": "yes"}),
        checks.Verdicts("b", "encoder", found={"forward": "NO", "gradients": "yes"}),
        checks.Verdicts("c", "base", skipped="cannot be built small: ValueError"),
    ]
    found = run.result(rows)
    shown = page.rewrite(
        "before\n<!-- architectures:begin -->\nold\n<!-- architectures:end -->\nafter", found
    )
    assert "| a | decoder | ✓ |  | own |" in shown
    assert "| b | encoder | ✗ | ✓ |" in shown
    assert "1 cannot be built small" in shown
    assert shown.startswith("before")
    assert shown.endswith("after")
    assert "old" not in shown
    with pytest.raises(ValueError, match="the page has no"):
        page.rewrite("nothing", found)
