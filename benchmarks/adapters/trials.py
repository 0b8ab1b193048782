"""One check of a model each: on regard, and on transformers' eager attention.

A difference may be the model's own: state-space layers, say, give other numbers when padding stands
before a text, on any attention. So where regard differs from eager, eager is run in a second way
that should give the same (texts one by one, without a cache); if that differs as well, the verdict
is OWN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks.adapters.architectures import LENGTH

SAME, OWN, NO, NONE = "yes", "own", "NO", "-"
TOLERANCE = 5e-5  # of the largest number; eager's own error, through two layers, is a tenth of it
NEW_TOKENS = 6
Inputs = dict[str, torch.Tensor]


def run(model: PreTrainedModel, implementation: str, inputs: Inputs) -> torch.Tensor:
    """Logits of the model, or what it has instead."""
    model.set_attn_implementation(implementation)
    output = model(**inputs)
    for name in ("logits", "last_hidden_state"):
        if isinstance(output.get(name), torch.Tensor):
            return output[name]
    return next(x for x in output.values() if isinstance(x, torch.Tensor) and x.is_floating_point())


def with_decoder(model: PreTrainedModel, inputs: Inputs) -> Inputs:
    """Add inputs of the decoder, where there is one."""
    if not model.config.is_encoder_decoder:
        return inputs
    some = torch.arange(5, 5 + 7).expand(len(next(iter(inputs.values()))), -1)
    return {**inputs, "decoder_input_ids": some}


def padding_of(inputs: Inputs, side: str) -> torch.Tensor:
    """1 for tokens of three texts, of which two are shorter."""
    mask = torch.ones_like(inputs["input_ids"])
    if side != "right":
        mask[1, :5] = 0
    if side != "left":
        mask[-1, 13:] = 0
    if side == "right":
        mask[1, 16:] = 0
    if side == "left":
        mask[-1, :9] = 0
    return mask


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, as a part of the largest number."""
    if not torch.isfinite(a).all() or not torch.isfinite(b).all():
        return 0.0 if torch.equal(a.isfinite(), b.isfinite()) else float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))


def _verdict(error: float, own: Callable[[], float] | None = None) -> tuple[str, str]:
    if error <= TOLERANCE:
        return SAME, ""
    if own is not None:
        by_itself = own()
        if error <= 5 * by_itself:
            return OWN, f"off by {error:.1e}; eager by itself by {by_itself:.1e}"
    return NO, f"off by {error:.1e}"


def forward(model: PreTrainedModel, inputs: Inputs) -> tuple[str, str]:
    return _against_eager(model, lambda name: run(model, name, with_decoder(model, inputs)))


def gradients(model: PreTrainedModel, inputs: Inputs) -> tuple[str, str]:
    def gradients(implementation: str) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        output = run(model, implementation, with_decoder(model, inputs))
        chance = torch.Generator().manual_seed(3)
        direction = torch.randn(output.shape, generator=chance, dtype=torch.float32)
        (output * direction).mean().backward()
        found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat(found) if found else torch.zeros(1)

    return _against_eager(model, gradients)


def _against_eager(
    model: PreTrainedModel, numbers: Callable[[str], torch.Tensor]
) -> tuple[str, str]:
    """Compare; what eager does by itself is chance in the model, and its rounding."""
    expected = numbers("eager")

    def own() -> float:
        again = difference(numbers("eager"), expected)
        dtype = torch.get_default_dtype()
        try:
            torch.set_default_dtype(torch.float64)
            exact = numbers_in_double()
        except Exception:  # a model that is float32 somewhere
            return again
        finally:
            torch.set_default_dtype(dtype)
            model.float()
        return max(again, difference(expected.double(), exact))

    def numbers_in_double() -> torch.Tensor:
        model.double()
        return numbers("eager")

    return _verdict(difference(numbers("regard"), expected), own)


def bfloat16(model: PreTrainedModel, inputs: Inputs) -> tuple[str, str]:
    """Against float32: a token is not twice as far off as on eager."""
    inputs = with_decoder(model, inputs)
    expected = run(model, "eager", inputs)
    short = {name: x.bfloat16() if x.is_floating_point() else x for name, x in inputs.items()}
    state = {name: x.clone() for name, x in model.state_dict().items()}
    try:
        model.to(torch.bfloat16)
        try:
            eager = run(model, "eager", short).float()
        except RuntimeError:  # a model that mixes dtypes
            return NONE, ""
        ours = run(model, "regard", short).float()
    finally:
        model.float()
        model.load_state_dict(state)
    error, allowed = (_of_a_token(x - expected) for x in (ours, eager))
    return (SAME, "") if error <= 2 * allowed + 1e-3 else (NO, f"off by {error / allowed:.1f} x")


def _of_a_token(error: torch.Tensor) -> float:
    """Median over tokens: rounding sends some to other experts, on any attention."""
    return float(error.flatten(0, -2).square().mean(-1).sqrt().median())


def padded(model: PreTrainedModel, inputs: Inputs, side: str) -> tuple[str, str]:
    if "input_ids" not in inputs:
        return NONE, ""
    mask = padding_of(inputs, side)
    given = with_decoder(model, {**inputs, "attention_mask": mask})
    decoder = model.config.is_encoder_decoder
    rows = torch.ones_like(given["decoder_input_ids"]).bool() if decoder else mask.bool()
    try:
        expected = run(model, "eager", given)
    except Exception:
        return NONE, ""
    if expected.shape[:2] != rows.shape:
        return NONE, ""

    def alone() -> float:
        worst = 0.0
        for i, row in enumerate(mask.bool()):
            one = {name: x[i : i + 1] for name, x in given.items() if name != "attention_mask"}
            one["input_ids"] = one["input_ids"][:, row]
            worst = max(worst, difference(run(model, "eager", one)[0], expected[i][rows[i]]))
        return worst

    return _verdict(difference(run(model, "regard", given)[rows], expected[rows]), alone)


def generated(model: PreTrainedModel, inputs: Inputs, options: dict[str, Any]) -> tuple[str, str]:
    if "input_ids" not in inputs or not model.can_generate():
        return NONE, ""
    mask = padding_of(inputs, "left")
    if model.config.is_encoder_decoder:
        options = {**options, "decoder_start_token_id": 1}

    def tokens(implementation: str, **more: Any) -> torch.Tensor:
        model.set_attn_implementation(implementation)
        found = model.generate(
            inputs["input_ids"], attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS, pad_token_id=0, **more,
        )  # fmt: skip
        assert isinstance(found, torch.Tensor)
        return found

    try:
        expected = tokens("eager", **options)
    except Exception:
        return NONE, ""
    if torch.equal(tokens("regard", **options), expected):
        return SAME, ""
    try:
        plain = {name: x for name, x in options.items() if "cache" not in name}
        other = tokens("eager", **plain, use_cache=False)
    except Exception:
        other = expected
    if not torch.equal(other, expected):
        return OWN, "other tokens; so has eager without a cache"
    return NO, "other tokens"


assert LENGTH > 16  # padding_of
