"""What of an architecture is the same on regard as on transformers' eager attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

import regard.transformers
from benchmarks.adapters import trials
from benchmarks.adapters.architectures import Architecture, inputs_of
from benchmarks.adapters.trials import NO, Inputs

PADDINGS = ("right", "left", "ragged")


@dataclass
class Verdicts:
    """What was found of one architecture.

    Attributes
    ----------
    name, role : str
    skipped : str
        Why nothing was tried, or "".
    found : dict of str to str
        By check: SAME, OWN, NO, or NONE where the model has no such thing.
    details : dict of str to str
        Of what is not SAME: how far it is off, or the error.
    """

    name: str
    role: str
    skipped: str = ""
    found: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> dict[str, str]:
        """What is NO, and how far off."""
        return {check: self.details[check] for check, x in self.found.items() if x == NO}


def check(architecture: Architecture) -> Verdicts:
    """Try everything on one architecture."""
    verdicts = Verdicts(architecture.name, architecture.role)
    with quiet():
        try:
            model = architecture.build()
            inputs = inputs_of(model)
            if inputs is not None:
                with torch.no_grad():
                    trials.run(model, "eager", trials.with_decoder(model, inputs))
        except Exception as error:  # of the model's own code, on eager attention
            verdicts.skipped = f"too large, or in need of other settings or inputs: {error}"[:200]
            return verdicts
        if inputs is None:
            verdicts.skipped = f"its input is {model.main_input_name}"
        elif not model._can_set_attn_implementation():
            verdicts.skipped = "does not use the attention interface"
        else:
            _check_model(model, inputs, verdicts)
    return verdicts


def _check_model(model: PreTrainedModel, inputs: Inputs, verdicts: Verdicts) -> None:
    regard.transformers.stats(reset=True)
    try:
        trials.run(model, "regard", trials.with_decoder(model, inputs))
    except Exception as error:
        verdicts.found["forward"] = NO
        verdicts.details["forward"] = f"{type(error).__name__}: {error}"
        return
    if not any(route.startswith("call:") for route in regard.transformers.stats()):
        verdicts.skipped = "has no attention, or none of transformers' interface"
        return
    checks: dict[str, Callable[[], tuple[str, str]]] = {
        "forward": lambda: trials.forward(model, inputs),
        "gradients": lambda: trials.gradients(model, inputs),
        "bf16": lambda: trials.bfloat16(model, inputs),
    }
    for side in PADDINGS:
        checks[side] = lambda side=side: trials.padded(model, inputs, side)  # type: ignore[misc]
    for way, options in (
        ("greedy", {}),
        ("beams", {"num_beams": 3}),
        ("static", {"cache_implementation": "static", "disable_compile": True}),
    ):
        checks[way] = lambda options=options: trials.generated(  # type: ignore[misc]
            model, inputs, options
        )
    for name, try_it in checks.items():
        try:
            with torch.set_grad_enabled(name == "gradients"):
                verdicts.found[name], told = try_it()
            if told:
                verdicts.details[name] = told
        except Exception as error:
            verdicts.found[name] = NO
            verdicts.details[name] = f"{type(error).__name__}: {error}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence of transformers, which warns of small configurations; one thread for small models."""
    level, threads = logging.get_verbosity(), torch.get_num_threads()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        torch.set_num_threads(threads)


def describe(verdicts: Verdicts) -> str:
    """One line for a terminal."""
    if verdicts.skipped:
        return f"{verdicts.name}: {verdicts.skipped}"
    cells = " ".join(f"{name}={x}" for name, x in verdicts.found.items())
    told = "; ".join(f"{name}: {x}" for name, x in verdicts.details.items() if x)
    return f"{verdicts.name} ({verdicts.role}): {cells}" + (f"  [{told}]" if told else "")
