"""What becomes of a benchmark's results: text, tables, plot, and the command around them."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from regard import _progress
from regard.bench import command, plot
from regard.bench.cases import CASES, Case
from regard.bench.report import OWN, Report, Result, Row

ROOT = Path(__file__).resolve().parents[2]
RESULT = Result(seconds=1e-3, low=1e-3, high=1e-3, samples=7, cores=1.0, error=1e-7)


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


# --- tables and plot of the documentation


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fixture_run() -> Report:
    full, window = case_named("full-1k-d64"), case_named("window-256-of-4k")
    slow = replace(RESULT, seconds=6e-3, way="SDPA")
    inexact = replace(RESULT, seconds=1e-3, error=1e-2)
    return Report(
        date="2026-01-01 00:00 UTC",
        isa="avx512",
        threads=2,
        machine={"cpu": "A CPU", "cores": 2, "caches": {"L1d": "48K"}, "system": "Linux x86_64"},
        contenders={OWN: "1.0", "torch": "2.13.0+cpu", "jax": "0.9", "numpy": "2.0"},
        missing={},
        settings={"minimum": 7, "seconds": 1.0, "rounds": 4, "seed": 1, "quick": False},
        rows=[
            Row(
                full,
                ceiling=1000.0,
                results={OWN: replace(RESULT, seconds=2.5e-3), "torch": slow, "numpy": inexact},
                unsupported={"jax": "no"},
            ),
            Row(
                window,
                ceiling=1000.0,
                results={OWN: replace(RESULT, seconds=12e-3), "torch": slow},
                baseline=replace(RESULT, seconds=90e-3),
            ),
            Row(
                case_named("option-bias"),
                ceiling=1000.0,
                results={OWN: replace(RESULT, seconds=12e-3), "torch": slow},
                baseline=replace(RESULT, seconds=10e-3),
            ),
            Row(
                case_named("option-cosine"),
                ceiling=1000.0,
                results={OWN: replace(RESULT, seconds=11e-3)},
                baseline=replace(RESULT, seconds=10e-3),
            ),
        ],
    )


@pytest.fixture
def gradients_run(fixture_run: Report) -> Report:
    full, bert, window = (
        Row(
            case_named(name),
            ceiling=1000.0,
            results={OWN: replace(RESULT, seconds=10e-3)},
            unsupported={"numpy": "has no gradients"},
            baseline=replace(RESULT, seconds=40e-3) if name == "backward-window" else None,
        )
        for name in ("backward-1k-d64", "backward-bert-8x12x128", "backward-window")
    )
    full.results["torch"] = replace(RESULT, seconds=30e-3, way="SDPA")
    bert.unsupported["torch"] = "no"
    return replace(fixture_run, date="2026-03-03 00:00 UTC", rows=[full, bert, window])


@pytest.fixture
def pages(tmp_path: Path, fixture_run: Report) -> Path:
    script = load_script("report")
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    for page in ("README.md", "docs/performance.md", "docs/tuning.md"):
        text = f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n"
        if page == "README.md":
            text += f"{script.HEADLINE_BEGIN}\n{script.HEADLINE_END}\n"
        else:
            text += f"{script.OPTIONS_BEGIN}\n{script.OPTIONS_END}\n"
        (tmp_path / page).write_text(text, encoding="utf-8")
    fixture_run.save(tmp_path / "results" / "two.json")
    alone = replace(fixture_run, threads=1, contenders={OWN: "1.0"})
    alone.save(tmp_path / "results" / "one.json")
    options = replace(fixture_run, date="2026-02-02 00:00 UTC", rows=fixture_run.rows[2:])
    options.save(tmp_path / "results" / "options.json")
    package = {
        "schema": 1,
        "kind": "package",
        "findings": [
            {"name": "wheel", "target": "<= 2 MB", "reached": "3 MB", "missed": "by 1 MB"}
        ],
    }
    (tmp_path / "results" / "package.json").write_text(json.dumps(package), encoding="utf-8")
    return tmp_path


README_CASES = ("full-1k-d64", "window-256-of-4k")


def write_pages(pages: Path, *more: str, cases: tuple[str, ...] = README_CASES) -> int:
    words = ["--root", str(pages), "--results", str(pages / "results"), "--no-plot", *more]
    script: Any = load_script("report")
    script.README_CASES = cases
    status: int = script.main(words)
    return status


def test_readme_shows_best_rival_losses_and_misses(pages: Path) -> None:
    assert write_pages(pages) == 0
    text = (pages / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- results:begin -->\nMeasured 2026-01-01")
    assert "<!-- results:end -->\nafter\n<!-- headline:begin -->\nExact attention" in text
    assert text.endswith("cores.\n<!-- headline:end -->\n")
    headline = " ".join(text.split("<!-- headline:begin -->")[1].split())
    assert (
        "faster than PyTorch and NumPy in **1 of 2** measured cases, by up to **2.4x**" in headline
    )
    assert "old" not in text
    full, window = (line for line in text.splitlines() if line.startswith("| 1x8x"))
    # NumPy's made-up result is faster and wrong, so PyTorch is the best rival.
    assert (
        "| 2.50 ms (859 GFLOP/s) | 85.9 % | 1.0e-07 | PyTorch SDPA 6.00 ms | 1.0e-07 | 2.40x |"
        in full
    )
    assert "**missed by 4.1 points**" in full
    assert "**0.50x, lost**" in window
    rows = "faster than every rival in 1 of 2 rows; lost: 1x8x4096x64 window 256."
    assert f"All measured rows: {rows} Targets met: 1 of 2." in text


def test_readme_has_the_chosen_rows_in_their_order_and_counts_all(pages: Path) -> None:
    write_pages(pages, cases=("window-256-of-4k",))
    text = (pages / "README.md").read_text(encoding="utf-8")
    assert text.count("| 1x8x") == 1
    assert "faster than every rival in 1 of 2 rows" in text
    write_pages(pages, cases=README_CASES[::-1])
    text = (pages / "README.md").read_text(encoding="utf-8")
    assert text.index("| 1x8x4096x64 window") < text.index("| 1x8x1024x64 |")


def test_readme_must_have_a_row_that_is_lost_or_missed(pages: Path, gradients_run: Report) -> None:
    full, *others = gradients_run.rows
    won = replace(full, results=full.results | {OWN: replace(RESULT, seconds=8e-3)})
    replace(gradients_run, rows=[won, *others]).save(pages / "results" / "gradients.json")
    with pytest.raises(SystemExit, match="must have a row that is lost or misses its target"):
        write_pages(pages, cases=("backward-1k-d64",))
    assert write_pages(pages, cases=("backward-1k-d64", "full-1k-d64")) == 0  # misses its target
    assert write_pages(pages, cases=("backward-1k-d64", "window-256-of-4k")) == 0  # is lost


def test_readme_case_without_results_is_an_error(pages: Path) -> None:
    with pytest.raises(SystemExit, match="no results for README_CASES full-4k-d64"):
        write_pages(pages, cases=(*README_CASES, "full-4k-d64"))


def test_performance_page_compares_every_contender(pages: Path) -> None:
    write_pages(pages)
    text = (pages / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "### avx512, 1 thread (`one.json`)" not in text  # has no rivals
    assert "### avx512, 2 threads (`two.json`)" in text
    assert (
        "| 1x8x1024x64 | 2.50 ms | 1.0e-07 | PyTorch, 2.40x | SDPA 6.00 ms, 2.40x, 1.0e-07 "
        "| 1.00 ms, 0.40x, 1.0e-02, not exact |"
    ) in text
    assert "| PyTorch, **0.50x, lost** | SDPA 6.00 ms, **0.50x, lost**, 1.0e-07 | - |" in text
    assert "- JAX: 1x8x1024x64: no" in text
    assert "Faster than every rival in 1 of 2 rows; lost: 1x8x4096x64" in text
    assert "missed" not in text
    assert "| wheel | 3 MB |\n" in text
    assert "pip install torch==2.13.0 jax==0.9 numpy==2.0 jaxlib" in text
    assert "regard bench --isa avx512 --threads 2 --rivals torch,jax,numpy" in text


def test_tuning_page_holds_every_run_against_its_targets(pages: Path, fixture_run: Report) -> None:
    other = replace(fixture_run, machine=fixture_run.machine | {"cpu": "B CPU"})
    other.save(pages / "results" / "three.json")
    write_pages(pages)
    text = (pages / "docs" / "tuning.md").read_text(encoding="utf-8")
    first, second = text.split("### B CPU\n")
    assert "### A CPU\n\n#### avx512, 1 thread (`one.json`)" in first
    assert "#### avx512, 2 threads (`two.json`)" in first
    assert "#### avx512, 2 threads (`three.json`)" in second
    assert "| 2.50 ms (859 GFLOP/s) | 85.9 % | 1.0e-07 | >= 90 % of the ceiling: **missed" in first
    assert "Targets met: 1 of 2." in first
    assert "SDPA" not in text
    assert "| wheel | 3 MB | <= 2 MB: **missed by 1 MB** |" in text


def test_options_have_a_table_of_their_own(pages: Path) -> None:
    write_pages(pages)
    script = load_script("report")
    tables = {}
    for page in ("performance", "tuning"):
        text = (pages / "docs" / f"{page}.md").read_text(encoding="utf-8")
        table = text.split(script.OPTIONS_BEGIN)[1].split(script.OPTIONS_END)[0]
        assert "causal bias array" not in text.replace(table, "")
        assert "# avx512, 2 threads (`options.json`)" not in text
        assert "### Options, avx512, 2 threads (`options.json`)" in table
        tables[page] = table
    row = "| 1x8x4096x64 causal bias array | 12.0 ms | 10.0 ms | 1.20 | 1.0e-07 "
    assert f"{row}| SDPA 6.00 ms, **0.50x, lost**, 1.0e-07 |\n" in tables["performance"]
    assert "| 11.0 ms | 10.0 ms | 1.10 | 1.0e-07 | - |\n" in tables["performance"]
    assert f"{row}| <= 1.15x plain: **missed by 4 %** (1.20x) |\n" in tables["tuning"]
    assert "| 11.0 ms | 10.0 ms | 1.10 | 1.0e-07 | none |\n" in tables["tuning"]
    assert "Targets met: 0 of 1." in tables["tuning"]


def test_gradients_have_tables_of_their_own(pages: Path, gradients_run: Report) -> None:
    write_pages(pages)
    assert "radients" not in (pages / "README.md").read_text(encoding="utf-8")
    gradients_run.save(pages / "results" / "gradients.json")
    write_pages(pages, cases=(*README_CASES, "backward-1k-d64"))
    readme = (pages / "README.md").read_text(encoding="utf-8")
    assert "\nMeasured 2026-01-01" in readme
    assert "\nGradients measured 2026-03-03" in readme
    assert (
        "| 1x8x1024x64 gradients | 10.0 ms (752 GFLOP/s) | 75.2 % | 1.0e-07 "
        "| PyTorch SDPA 30.0 ms | 1.0e-07 | 3.00x "
        "| >= 78 % of the ceiling: **missed by 2.8 points** |"
    ) in readme
    assert ", of gradients relative to the largest number of each gradient." in readme
    assert "window 512" not in readme
    assert "faster than every rival in 2 of 3 rows" in readme
    text = (pages / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "### avx512, 2 threads (`gradients.json`)" not in text
    part = text.split("### Gradients, avx512, 2 threads (`gradients.json`)")[1]
    row = "| 1x8x1024x64 gradients | 10.0 ms | 1.0e-07 | PyTorch, 3.00x |"
    assert f"{row} SDPA 30.0 ms, 3.00x, 1.0e-07 |" in part
    tuning = (pages / "docs" / "tuning.md").read_text(encoding="utf-8")
    assert "#### Gradients, avx512, 2 threads (`gradients.json`)" in tuning
    assert "| 10.0 ms (752 GFLOP/s) | 75.2 % | 1.0e-07 | >= 78 % of the ceiling: **missed" in tuning
    missing = "- NumPy: has no gradients\n- PyTorch: BERT 8x12x128x64 gradients: no\n"
    assert missing in part
    assert "| 1x8x4096x64 window 512 gradients | 10.0 ms | 40.0 ms | 0.25 |" in part


def test_gradients_of_the_headline_run_repeat_no_machine(
    pages: Path, fixture_run: Report, gradients_run: Report
) -> None:
    for name, words in (("two", {}), ("one", {"threads": 1, "contenders": {OWN: "1.0"}})):
        both = replace(fixture_run, rows=fixture_run.rows + gradients_run.rows, **words)
        both.save(pages / "results" / f"{name}.json")
    write_pages(pages, cases=(*README_CASES, "backward-1k-d64"))
    readme = (pages / "README.md").read_text(encoding="utf-8")
    assert readme.count("easured 2026") == 1
    assert readme.count("| 1x8x1024x64 gradients |") == 1


def test_check_notices_stale_pages(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_pages(pages, "--check") == 1
    assert "out of date: README.md, performance.md, tuning.md" in capsys.readouterr().out
    write_pages(pages)
    assert write_pages(pages, "--check") == 0
    page = pages / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("85.9", "95.9"), encoding="utf-8")
    assert write_pages(pages, "--check") == 1


def test_pages_say_what_the_committed_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    if not (ROOT / "benchmarks" / "results").exists():
        pytest.skip("source distributions have no results")
    assert load_script("report").main(["--check"]) == 0, capsys.readouterr().out


def test_page_without_markers_is_an_error(pages: Path) -> None:
    (pages / "README.md").write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md needs one <!-- headline:begin -->"):
        write_pages(pages)


def test_plot_of_the_same_numbers_is_the_same_file(fixture_run: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg", "c.png"):
        plot.save_plot(fixture_run, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").stat().st_size > 10_000


# --- the command


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_command_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    words = ("--cases", "smallest-call", "--seconds", "0.001", "--json", str(path))
    assert command.main(parsed(*words)) == 0
    assert "1x1x4x2" in capsys.readouterr().out
    assert Report.load(path).rows[0].case == CASES[-1]


def test_plot_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command.main(parsed("--plot", "x.svg")) == 2
    assert 'pip install "regard[plot]"' in capsys.readouterr().err


def test_bad_options_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(parsed("--isa", "mmx", "--cases", "smallest-call")) == 2
    assert "mmx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parsed("--threads", "0")


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(_progress.progress(range(3), label="x")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("total", [None, 3])
def test_progress_has_a_bar_of_its_own(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tqdm", "rich.progress"):
        monkeypatch.setitem(sys.modules, module, None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(_progress.progress(iter("abc"), total=total, label="work")) == ["a", "b", "c"]
    drawn = terminal.getvalue()
    assert ("2/3" if total else "2 done") in drawn
    assert drawn.endswith("\r")
