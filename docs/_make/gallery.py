"""Run the examples and write their pages: python docs/_make/gallery.py [--quiet] [NAME...].

A page has what the example does, the command, what it printed, how long that took and where, a
picture, and the source. Needs what the examples need (examples/README.md) and matplotlib. --quiet
is for times taken while the machine does nothing else, which the page then says.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
import time
from datetime import date
from importlib import import_module
from pathlib import Path

from theme import save

from regard.bench.machine import describe

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "docs" / "gallery"
sys.path.insert(0, str(ROOT / "examples"))


NAMES = (
    "sentence_similarity",
    "generate",
    "train_char_lm",
    "fine_tune",
    "hessian_vector",
    "cluster",
    "image_classification",
    "image_generation",
    "detection",
    "saliency",
    "reaction_mapping",
    "sentiment",
    "question_answering",
    "speech",
    "translate",
    "article",
    "multilingual",
)

PAGE = """# {title}

{words}

![{title}](../pictures/gallery-{name}.svg)

*{caption}*

```console
$ {command}
```

```text
{printed}
```

{where}

## Source

[examples/{name}.py](../../examples/{name}.py); `examples/README.md` says what it needs.

```{{literalinclude}} ../../examples/{name}.py
:language: py
```
"""


def fill(text: str) -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(text, 100, break_on_hyphens=False)


def fold(line: str) -> str:
    """Break a long line that was printed, and leave all others alone."""
    return fill(line) if len(line) > 100 else line


def command(words: list[str]) -> str:
    """Write a command, in several lines if it is long."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 92:
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


def record(name: str, quiet: bool) -> None:
    """Run an example, and write its picture and its page; `drawings` has what they say."""
    example = import_module(f"drawings.{name}")
    program = [sys.executable, f"examples/{name}.py", *example.ARGUMENTS]
    start = time.perf_counter()
    done = subprocess.run(
        program, cwd=ROOT, env=os.environ, stdin=subprocess.DEVNULL, text=True, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    save(f"gallery-{name}", example.draw(done.stdout), getattr(example, "PHOTOGRAPHS", False))
    quoted = [f'"{word}"' if " " in word else word for word in example.ARGUMENTS]
    here = describe()
    page = PAGE.format(
        title=example.TITLE, words=fill(example.WORDS), caption=fill(example.CAPTION), name=name,
        command=command(["python", f"examples/{name}.py", *quoted]),
        printed="\n".join(map(fold, done.stdout.strip("\n").split("\n"))),
        where=fill(f"This run took {seconds:.0f} s, on {date.today()}, on {here['cpu']}, "
        f"{here['cores']} cores, which did {'no' if quiet else 'other'} work "
        f"{'besides' if quiet else 'as well'}."),
    )  # fmt: skip
    (GALLERY / f"{name}.md").write_text(page, "utf-8")


def main(arguments: list[str]) -> None:
    """Record the examples named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quiet", action="store_true", help="the machine does nothing else")
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    given = parser.parse_args(arguments)
    for name in NAMES:
        if not given.names or name in given.names:
            record(name, given.quiet)


if __name__ == "__main__":
    main(sys.argv[1:])
