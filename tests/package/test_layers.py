"""Imports inside the package run one way, as `regard._call` writes it down."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import regard
import regard._call

PACKAGE = pathlib.Path(regard.__file__).parent
# Programs, which import what they like and are imported by nobody.
PROGRAMS = {"__main__", "bench"}


def modules() -> dict[str, pathlib.Path]:
    """Every module but the programs', by its dotted name below `regard`; "" is `regard`."""
    found = {}
    for path in [*PACKAGE.rglob("*.py"), PACKAGE / "_core.pyi"]:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if not PROGRAMS & set(parts):
            found[name] = path
    return found


MODULES = modules()


def imported(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Names of modules below `regard` that a module imports, anywhere in it, and what of them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            if module == "regard" or module.startswith("regard."):
                below = module.removeprefix("regard").removeprefix(".")
                inner = f"{below}.{name}".strip(".")
                yield (inner, "") if inner in MODULES else (below, name)


def edges() -> set[tuple[str, str]]:
    """Pairs of a module and one that it imports."""
    pairs = set()
    for name, path in MODULES.items():
        for other, _ in imported(path):
            if other.split(".")[0] not in PROGRAMS:
                pairs.add((name, other))
    return pairs


def circle(pairs: set[tuple[str, str]]) -> list[str]:
    """A circle, if there is one: what is left when all that imports nothing is taken away."""
    while True:
        importing = {a for a, _ in pairs}
        left = {(a, b) for a, b in pairs if b in importing}
        if left == pairs:
            return sorted(importing)
        pairs = left


def part(module: str) -> str:
    """The folder that a module is in, or the module itself."""
    return module.split(".")[0]


def layers() -> dict[str, int]:
    """Parts of the package by the line of the documentation that they are in."""
    block = (regard._call.__doc__ or "").split("::\n\n")[1].split("\n\n")[0]
    places = {}
    for number, line in enumerate(block.splitlines()):
        named = re.split(r"\s{2,}", line.removeprefix("    "))[0]
        for name in re.findall(r"[\w/]+", named):
            places["" if name == "regard" else name.rstrip("/")] = number
    return places


def test_circle_is_found():
    assert circle({("a", "b"), ("b", "c")}) == []
    assert circle({("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")}) == ["a", "b", "c"]


def test_modules_import_without_circles():
    inside = {(a, b) for a, b in edges() if b != part(a)}  # of a folder its own modules
    assert circle({(a, b) for a, b in inside if a != b}) == []


def test_folders_import_without_circles():
    assert circle({(part(a), part(b)) for a, b in edges() if part(a) != part(b)}) == []


def test_imports_go_to_lines_above():
    places = layers()
    assert {part(name) for name in MODULES} == set(places)
    wrong = {
        (a, b) for a, b in edges() if part(a) != part(b) and places[part(b)] >= places[part(a)]
    }
    assert wrong == set()
