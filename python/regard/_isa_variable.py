"""What happens when ``REGARD_ISA`` names an instruction set that is not there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn


def refuse(message: str) -> NoReturn:
    """End an import: with one line for who typed ``regard``, one exception for who imports it."""
    if _is_the_command():
        print(f"regard: {' '.join(message.split())}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(message) from None


def _is_the_command() -> bool:
    """Whether this process is ``regard`` or ``python -m regard``, neither of which has begun."""
    if sys.argv[:1] == ["-m"]:  # until Python knows the module's file
        words = sys.orig_argv
        return "regard" in words and words[words.index("regard") - 1].endswith("m")
    return Path(*sys.argv[:1]).name == "regard"
