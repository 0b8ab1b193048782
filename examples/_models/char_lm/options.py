"""Options that the trainings of a character model share."""

from __future__ import annotations

import argparse
from pathlib import Path

from .training import SCHEDULES, Settings


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add what concerns the model and its course."""
    parser.add_argument("--batch", type=int, default=16, help="pieces of text a step")
    parser.add_argument("--length", type=int, default=128, help="characters of a piece")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument(
        "--schedule", choices=SCHEDULES, default="cosine", help="what becomes of it"
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--evaluations", type=int, default=8, help="how often to validate")
    parser.add_argument(
        "--patience", type=int, default=0,
        help="stop after so many evaluations without a better one; 0: never",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="how many compute a batch")
    parser.add_argument("--parallel", choices=("threads", "processes"), default="threads")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="where to save runs")
    parser.add_argument("--resume", action="store_true", help="go on from what is saved there")


def check(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, *counts: str
) -> argparse.Namespace:
    """Refuse numbers below 1, those of further options as well, and what goes with nothing."""
    for name in ("batch", "length", "layers", "evaluations", "workers", *counts):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} has to be at least 1")
    if arguments.resume and not arguments.checkpoint:
        parser.error("--resume needs --checkpoint")
    return arguments


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Take what concerns a run."""
    return Settings(**{name: getattr(arguments, name) for name in Settings.__dataclass_fields__})


def file_of(arguments: argparse.Namespace, name: str) -> Path | None:
    """Where a run is saved; its folder is made."""
    if not arguments.checkpoint:
        return None
    arguments.checkpoint.mkdir(parents=True, exist_ok=True)
    return Path(arguments.checkpoint) / f"{name.lower().replace(' ', '-')}.safetensors"
