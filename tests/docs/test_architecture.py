"""The code keeps to the rooms and arrows that docs/design.md draws; the recipes name real files."""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePosixPath

import pytest

from paths import ROOT

DESIGN = ROOT / "docs" / "design.md"
Arrows = dict[str, set[str]]


def drawn(language: str, page: str) -> Arrows:
    """What the page lets each room know, in the order of its lines."""
    block = re.search(rf"^```arrows {language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block, f"docs/design.md draws no arrows of {language}"
    arrows: Arrows = {}
    for line in re.sub(r",\n +", ", ", block[1]).splitlines():
        room, _, known = line.partition("->")
        arrows[room.strip()] = {word.strip() for word in known.split(",") if word.strip()}
    return arrows


def room_of(file: str, rooms: Arrows) -> str | None:
    """The most special room that a file lies in: itself, or the nearest folder."""
    path = PurePosixPath(file)
    return next((str(at) for at in (path, *path.parents) if str(at) in rooms), None)


def forbidden(links: list[tuple[str, str]], rooms: Arrows) -> list[str]:
    """Links between files that the page does not allow."""
    wrong = []
    for file, other in links:
        room, known = room_of(file, rooms), room_of(other, rooms)
        if room is None or known is None:
            wrong.append(f"{file if room is None else other} is in no room of the page")
        elif known != room and known not in rooms[room]:
            wrong.append(f"{file} knows {other}: no arrow from {room} to {known}")
    return wrong


def circle(links: list[tuple[str, str]]) -> list[str]:
    """Files that know each other in a circle, if there are any."""
    known: dict[str, set[str]] = {}
    for file, other in links:
        known.setdefault(file, set()).add(other)
    done: set[str] = set()

    def visit(file: str, path: list[str]) -> list[str]:
        if file in path:
            return [*path[path.index(file) :], file]
        if file in done:
            return []
        for other in sorted(known.get(file, ())):
            if found := visit(other, [*path, file]):
                return found
        done.add(file)
        return []

    return next((found for file in sorted(known) if (found := visit(file, []))), [])


def includes(root: Path) -> list[tuple[str, str]]:
    """(file, included file) of the core, as paths below cpp/src or cpp/."""
    cpp = root / "cpp"
    links = []
    for path in sorted(cpp.glob("**/*.[ch]pp")):
        place = path.relative_to(cpp).as_posix().removeprefix("src/")
        for name in re.findall(r'^#include [<"]([\w/]+\.hpp)[>"]', path.read_text("utf-8"), re.M):
            if name.startswith("regard/"):
                links.append((place, f"include/{name}"))
            elif (cpp / "src" / name).exists():
                links.append((place, name))
            elif (path.parent / name).exists():
                links.append((place, f"{PurePosixPath(place).parent}/{name}"))
    return links


@pytest.fixture(scope="module")
def page() -> str:
    return DESIGN.read_text("utf-8")


def test_rooms_of_the_page_are_in_order(page):
    above: set[str] = set()
    for room, known in drawn("cpp", page).items():
        assert known <= above, f"{room} names rooms that do not stand above it"
        above.add(room)


def test_every_room_exists(page):
    for room in drawn("cpp", page):
        outside = room == "bindings" or room.startswith("include/regard")
        folder = "cpp" if outside else "cpp/src"
        assert (ROOT / folder / room).exists(), room


def test_includes_follow_the_arrows(page):
    links = includes(ROOT)
    assert len(links) > 200
    assert not forbidden(links, drawn("cpp", page))
    assert not circle(links)


def test_every_arrow_is_used(page):
    rooms = drawn("cpp", page)
    used = {(room_of(a, rooms), room_of(b, rooms)) for a, b in includes(ROOT)}
    for room, known in rooms.items():
        assert {other for other in known if (room, other) not in used} == set(), room


def test_a_forbidden_include_and_a_circle_are_seen(page):
    rooms = drawn("cpp", page)
    planted = [("plan/tiling.cpp", "run/scratch.hpp")]
    assert forbidden(planted, rooms) == [
        "plan/tiling.cpp knows run/scratch.hpp: no arrow from plan to run"
    ]
    assert circle([*includes(ROOT), ("base/message.hpp", "validate/validate_parts.hpp")])
    assert forbidden([("new/file.cpp", "base/message.hpp")], rooms)


def layers(page: str) -> dict[str, int]:
    """The line of the page that each part of the package stands in."""
    block = re.search(r"^```layers python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block, "docs/design.md draws no layers of python"
    return {
        part: number
        for number, line in enumerate(block[1].splitlines())
        for part in re.split(r"\s{2,}", line)[0].split(", ")
    }


def modules() -> dict[str, Path]:
    """Every module of the package and of benchmarks/compare, by its dotted name."""
    found = {"regard._core": ROOT / "python/regard/_core.pyi"}
    for package, folder in (("regard", "python/regard"), ("benchmarks.compare",) * 2):
        place = ROOT / folder.replace(".", "/")
        for path in place.rglob("*.py"):
            parts = path.relative_to(place).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def part_of(module: str) -> str:
    """What the page calls the folder or file that a module is in."""
    if module.startswith("benchmarks.compare"):
        return "benchmarks.compare"
    return module.split(".")[1] if "." in module else module


def imports(known: dict[str, Path]) -> list[tuple[str, str]]:
    """(module, imported module), also of imports inside functions and for types alone."""
    links = []
    for module, path in known.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: a relative import"
                # `X as X` shows type checkers what the package loads on first use.
                names = [f"{node.module}.{a.name}" for a in node.names if a.asname != a.name]
            else:
                continue
            for name in names:  # a module, or something in one
                for other in (name, name.rpartition(".")[0]):
                    if other in known and other != module:
                        links.append((module, other))
                        break
    return links


def wrong_imports(links: list[tuple[str, str]], places: dict[str, int]) -> list[str]:
    """Imports between parts that do not go to a line above."""
    return [
        f"{module} imports {other}"
        for module, other in links
        if part_of(module) != part_of(other) and places[part_of(other)] >= places[part_of(module)]
    ]


def test_imports_go_to_lines_above(page):
    known, places = modules(), layers(page)
    assert {part_of(module) for module in known} == set(places)
    links = imports(known)
    assert len(links) > 200
    assert wrong_imports(links, places) == []
    # A folder's own modules are no circle with the face that it has.
    inside = [(a, b) for a, b in links if b not in a]
    assert not circle(inside)
    assert not circle([(part_of(a), part_of(b)) for a, b in links if part_of(a) != part_of(b)])


def test_a_forbidden_import_is_seen(page):
    planted = [("regard.cache._ring", "regard.cli.demo"), ("regard.masks._store", "regard")]
    assert len(wrong_imports(planted, layers(page))) == 2
    assert circle([*imports(modules()), ("regard._arrays", "regard._call.options")])


RECIPES = ("adding-an-option.md", "adding-an-isa.md")
NAMED = re.compile(r"`((?:cpp|python|tests|docs)/[\w./-]+|CHANGELOG\.md)`")


@pytest.mark.parametrize("recipe", RECIPES)
def test_files_that_a_recipe_names_are_there(recipe):
    text = (ROOT / "docs" / recipe).read_text("utf-8")
    named = [name for name in NAMED.findall(text) if "_X." not in name]
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_an_option_is_as_many_places_as_the_recipe_says():
    """Each place names a file that knows query_scale; no other file of the code does."""
    text = (ROOT / "docs" / "adding-an-option.md").read_text("utf-8")
    list_of = text[text.index("## What is touched") : text.index("## Pitfalls")]
    places = re.split(r"^\d+\. ", list_of, flags=re.MULTILINE)[1:]
    assert len(places) == 15
    option = re.compile(r"query_?scale|query scale", re.IGNORECASE)

    def knows(name: str) -> bool:
        path = ROOT / name
        return path.is_file() and option.search(path.read_text("utf-8")) is not None

    for place in places:
        assert any(knows(name) for name in NAMED.findall(place)), place
    named = set(NAMED.findall(list_of))
    files = sum(knows(name) for name in named)
    assert f"was fifteen places in {files} files" in list_of
    code = [
        *ROOT.glob("cpp/**/*.[ch]pp"),
        *ROOT.glob("python/regard/**/*.py*"),
        *ROOT.glob("tests/cpp/*.[ch]pp"),
    ]
    known = {path.relative_to(ROOT).as_posix() for path in code if path.suffix != ".pyc"}
    beyond = {name for name in known if knows(name)} - named
    assert not beyond, f"the recipe does not name {sorted(beyond)}"
