"""What becomes of a comparison's results: the tables and the plot of the documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import pages, plot
from benchmarks.compare.report import OWN, Report, Result, Row
from small_cases import case_named

RESULT = Result(seconds=1e-3, low=1e-3, high=1e-3, samples=7, cores=1.0, error=1e-7)


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
def folder(tmp_path: Path, fixture_run: Report) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    for page in ("README.md", "docs/performance.md"):
        text = f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n"
        if page != "README.md":
            text += f"{pages.OPTIONS_BEGIN}\n{pages.OPTIONS_END}\n"
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


def write_pages(folder: Path, *more: str) -> int:
    words = ["--root", str(folder), "--results", str(folder / "results"), "--no-plot", *more]
    status: int = pages.main(words)
    return status


def test_readme_shows_best_rival_losses_and_misses(folder: Path) -> None:
    assert write_pages(folder) == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- results:begin -->\nMeasured 2026-01-01")
    assert text.endswith("<!-- results:end -->\nafter\n")
    assert "old" not in text
    full, window = (line for line in text.splitlines() if line.startswith("| 1x8x"))
    # NumPy's made-up result is faster and wrong, so PyTorch is the best rival.
    assert (
        "| 2.50 ms (859 GFLOP/s) | 85.9 % | 1.0e-07 | PyTorch SDPA 6.00 ms | 1.0e-07 | 2.40x |"
        in full
    )
    assert "**missed by 4.1 points**" in full
    assert "**0.50x, lost**" in window
    assert "Targets met: 1 of 2. Faster than every rival in 1 of 2 rows; lost: 1x8x4096x64" in text
    assert "What options cost: 0 of 3 targets met, see docs/performance.md." in text
    assert "| wheel | 3 MB | <= 2 MB: **missed by 1 MB** |" in text
    assert "pip install torch==2.13.0 jax==0.9 numpy==2.0 jaxlib" in text
    assert "python -m benchmarks.compare --isa avx512 --threads 2 --rivals torch,jax,numpy" in text


def test_performance_page_shows_every_run_and_contender(folder: Path) -> None:
    write_pages(folder)
    text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "### avx512, 1 thread (`one.json`)" in text
    assert "### avx512, 2 threads (`two.json`)" in text
    assert "1.00 ms, 0.40x, 1.0e-02, not exact" in text
    assert "- JAX: 1x8x1024x64: no" in text


def test_options_have_a_table_of_their_own(folder: Path) -> None:
    write_pages(folder)
    text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    table = text.split(pages.OPTIONS_BEGIN)[1].split(pages.OPTIONS_END)[0]
    assert "causal bias array" not in text.replace(table, "")
    assert "### avx512, 2 threads (`options.json`)" not in text
    assert "### Options, avx512, 2 threads (`options.json`)" in table
    assert (
        "| 1x8x4096x64 causal bias array | 12.0 ms | 10.0 ms | 1.20 | 1.0e-07 "
        "| 6.00 ms, **0.50x, lost**, 1.0e-07 | <= 1.15x plain: **missed by 4 %** (1.20x) |"
    ) in table
    assert "| 11.0 ms | 10.0 ms | 1.10 | 1.0e-07 | - | none |" in table


def test_gradients_have_tables_of_their_own(folder: Path, gradients_run: Report) -> None:
    write_pages(folder)
    assert "gradients" not in (folder / "README.md").read_text(encoding="utf-8")
    gradients_run.save(folder / "results" / "gradients.json")
    write_pages(folder)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    first, second = readme.split("Forward and backward pass together")
    assert "gradients |" not in first
    assert "Measured 2026-03-03" in second
    assert (
        "| 1x8x1024x64 gradients | 10.0 ms (752 GFLOP/s) | 75.2 % | 1.0e-07 "
        "| PyTorch SDPA 30.0 ms | 1.0e-07 | 3.00x "
        "| >= 78 % of the ceiling: **missed by 2.8 points** |"
    ) in second
    assert "relative to the largest number of each gradient" in second
    assert "window 512" not in second
    text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "### avx512, 2 threads (`gradients.json`)" not in text
    part = text.split("### Gradients, avx512, 2 threads (`gradients.json`)")[1]
    assert "| 10.0 ms (752 GFLOP/s) | 75.2 % | 1.0e-07 | 30.0 ms, 3.00x, 1.0e-07 |" in part
    missing = "- NumPy: has no gradients\n- PyTorch: BERT 8x12x128x64 gradients: no\n"
    assert missing in part
    assert "| 1x8x4096x64 window 512 gradients | 10.0 ms | 40.0 ms | 0.25 |" in part


def test_gradients_of_the_headline_run_repeat_no_machine(
    folder: Path, fixture_run: Report, gradients_run: Report
) -> None:
    for name, words in (("two", {}), ("one", {"threads": 1, "contenders": {OWN: "1.0"}})):
        both = replace(fixture_run, rows=fixture_run.rows + gradients_run.rows, **words)
        both.save(folder / "results" / f"{name}.json")
    write_pages(folder)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.count("Measured") == 1
    assert readme.count("| 1x8x1024x64 gradients |") == 1


def test_check_notices_stale_pages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_pages(folder, "--check") == 1
    assert "out of date: README.md, performance.md" in capsys.readouterr().out
    write_pages(folder)
    assert write_pages(folder, "--check") == 0
    page = folder / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("85.9", "95.9"), encoding="utf-8")
    assert write_pages(folder, "--check") == 1


def test_page_without_markers_is_an_error(folder: Path) -> None:
    (folder / "README.md").write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md needs one <!-- results:begin -->"):
        write_pages(folder)


def test_plot_of_the_same_numbers_is_the_same_file(fixture_run: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg", "c.png"):
        plot.save_plot(fixture_run, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").stat().st_size > 10_000
