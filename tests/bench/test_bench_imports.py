"""The benchmarks import each other in one direction, and the installed one nothing that is not."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import benchmarks.compare
import regard.bench


def modules(package: str, folder: Path) -> dict[str, Path]:
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> set[str]:
    """Return every name that a file imports anywhere: also in functions, or for types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by dots"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def graph() -> dict[str, set[str]]:
    known = {
        **modules("regard.bench", Path(regard.bench.__file__).parent),
        **modules("benchmarks.compare", Path(benchmarks.compare.__file__).parent),
    }

    def module_of(name: str) -> str | None:  # a submodule, or what has the name
        return next((n for n in (name, name.rpartition(".")[0]) if n in known), None)

    found = {name: {module_of(n) for n in imported(path)} for name, path in known.items()}
    return {name: {n for n in needed if n} for name, needed in found.items()}


def test_imports_have_no_circles() -> None:
    order = list(TopologicalSorter(graph()).static_order())  # raises CycleError
    assert order.index("regard.bench.cases") < order.index("benchmarks.compare.runner")


def test_the_installed_benchmark_knows_no_rivals() -> None:
    for path in Path(regard.bench.__file__).parent.rglob("*.py"):
        assert not any(name.startswith("benchmarks") for name in imported(path))
