"""What becomes of a comparison's results: the tables and the plot of the documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import pages, plot, readme
from benchmarks.compare.report import OWN, Report, Result, Row
from paths import ROOT
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
    for page in ("README.md", "docs/performance.md", "docs/tuning.md"):
        text = f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n"
        if page == "README.md":
            text += f"{pages.HEADLINE_BEGIN}\n{pages.HEADLINE_END}\n"
        else:
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
        "machine": {"cpu": "A CPU"},
        "findings": [
            {"name": "wheel", "target": "<= 2 MB", "reached": "3 MB", "missed": "by 1 MB"}
        ],
    }
    (tmp_path / "results" / "package.json").write_text(json.dumps(package), encoding="utf-8")
    return tmp_path


README_CASES = ("full-1k-d64", "window-256-of-4k")


def write_pages(folder: Path, *more: str, cases: tuple[str, ...] = README_CASES) -> int:
    words = ["--root", str(folder), "--results", str(folder / "results"), "--no-plot", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readme, "README_CASES", cases)
        return pages.main(words)


def test_readme_shows_best_rival_losses_and_misses(folder: Path) -> None:
    assert write_pages(folder) == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- results:begin -->\nMeasured 2026-01-01")
    assert "<!-- results:end -->\nafter\n<!-- headline:begin -->\nExact attention" in text
    assert text.endswith("cores.\n<!-- headline:end -->\n")
    headline = " ".join(text.split("<!-- headline:begin -->")[1].split())
    assert (
        "faster than PyTorch and NumPy in **1 of 2** measured cases on A CPU, by up to **2.4x**"
        in headline
    )
    assert "old" not in text
    full, window = (line for line in text.splitlines() if line.startswith("| 1x8x"))
    # NumPy's made-up result is faster and wrong, so PyTorch is the best rival.
    assert "| 2.50 ms, 85.9 %, 1.0e-07 | PyTorch SDPA 6.00 ms, 2.40x, 1.0e-07 |" in full
    assert "**0.50x, lost**" in window
    rows = "faster than every rival in 1 of 2 rows; lost: 1x8x4096x64 window 256."
    assert f"All measured rows, A CPU: {rows} Targets met: 1 of 2." in text


def test_readme_has_the_chosen_rows_in_their_order_and_counts_all(folder: Path) -> None:
    write_pages(folder, cases=("window-256-of-4k",))
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.count("| 1x8x") == 1
    assert "faster than every rival in 1 of 2 rows" in text
    write_pages(folder, cases=README_CASES[::-1])
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.index("| 1x8x4096x64 window") < text.index("| 1x8x1024x64 |")


def test_readme_must_have_a_row_that_is_lost_or_missed(folder: Path, gradients_run: Report) -> None:
    full, *others = gradients_run.rows
    won = replace(full, results=full.results | {OWN: replace(RESULT, seconds=8e-3)})
    replace(gradients_run, rows=[won, *others]).save(folder / "results" / "gradients.json")
    with pytest.raises(SystemExit, match="must have a row that is lost or misses its target"):
        write_pages(folder, cases=("backward-1k-d64",))
    assert write_pages(folder, cases=("backward-1k-d64", "full-1k-d64")) == 0  # misses its target
    assert write_pages(folder, cases=("backward-1k-d64", "window-256-of-4k")) == 0  # is lost


def test_readme_case_without_results_is_an_error(folder: Path) -> None:
    with pytest.raises(SystemExit, match="no results for README_CASES full-4k-d64 on A CPU"):
        write_pages(folder, cases=(*README_CASES, "full-4k-d64"))


def test_performance_page_compares_every_contender(folder: Path) -> None:
    write_pages(folder)
    text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "### avx512, 1 thread (`one.json`)" not in text  # has no rivals
    assert "#### avx512, 2 threads (`two.json`)" in text
    assert (
        "| 1x8x1024x64 | 2.50 ms | 1.0e-07 | PyTorch, 2.40x | SDPA 6.00 ms, 2.40x, 1.0e-07 "
        "| 1.00 ms, 0.40x, 1.0e-02, not exact |"
    ) in text
    assert "| PyTorch, **0.50x, lost** | SDPA 6.00 ms, **0.50x, lost**, 1.0e-07 | - |" in text
    assert "- JAX: 1x8x1024x64: no" in text
    assert "Faster than every rival in 1 of 2 rows; lost: 1x8x4096x64" in text
    assert "missed" not in text
    assert "| wheel | 3 MB |\n" in text
    assert "pip install \\\n  torch==2.13.0 jax==0.9 numpy==2.0 jaxlib\n" in text
    assert "--isa avx512 --threads 2 \\\n  --rivals torch,jax,numpy\n" in text


def test_tuning_page_holds_every_run_against_its_targets(folder: Path, fixture_run: Report) -> None:
    other = replace(fixture_run, machine=fixture_run.machine | {"cpu": "B CPU"})
    other.save(folder / "results" / "three.json")
    write_pages(folder)
    text = (folder / "docs" / "tuning.md").read_text(encoding="utf-8")
    first, second = text.split("### B CPU\n")
    assert "### A CPU\n\n#### avx512, 1 thread (`one.json`)" in first
    assert "#### avx512, 2 threads (`two.json`)" in first
    assert "#### avx512, 2 threads (`three.json`)" in second
    assert "| 2.50 ms (859 GFLOP/s) | 85.9 % | 1.0e-07 | >= 90 % of the ceiling: **missed" in first
    assert "Targets met: 1 of 2." in first
    assert "SDPA" not in text
    assert "| wheel | 3 MB | <= 2 MB: **missed by 1 MB** |" in text


def test_cpus_stand_side_by_side(folder: Path, fixture_run: Report) -> None:
    full, *others = fixture_run.rows
    faster = replace(full, results=full.results | {OWN: replace(RESULT, seconds=2.4e-3)})
    machine = fixture_run.machine | {"cpu": "AMD EPYC (family 25, model 17)"}
    zen = replace(fixture_run, date="2026-05-05 00:00 UTC", machine=machine, rows=[faster, *others])
    (folder / "results" / "amd-epyc-25-17").mkdir()
    zen.save(folder / "results" / "amd-epyc-25-17" / "two.json")
    write_pages(folder)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "| AMD Zen 4 | best rival | A CPU | best rival |" in readme
    assert "| 2.40 ms, 89.5 %, 1.0e-07 | PyTorch SDPA 6.00 ms, 2.50x, 1.0e-07 | 2.50 ms," in readme
    headline = " ".join(readme.split("<!-- headline:begin -->")[1].split())
    assert (
        "in **1 of 2** measured cases on AMD Zen 4 and **1 of 2** on A CPU, by up to **2.5x**"
        in (headline)
    )
    assert readme.index("All measured rows, AMD Zen 4") < readme.index("All measured rows, A CPU")
    text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    assert (
        text.index("### CPUs side by side") < text.index("### AMD Zen 4") < text.index("### A CPU")
    )
    assert "#### avx512, 2 threads (`amd-epyc-25-17/two.json`)" in text


def test_a_less_exact_rival_is_marked_as_another_computation(
    folder: Path, fixture_run: Report
) -> None:
    full, *others = fixture_run.rows
    for error, marked in ((4.7e-7, False), (4.9e-7, True)):  # floor: four units of float32
        torch = replace(full.results["torch"], error=error)
        rows = [replace(full, results=full.results | {"torch": torch}), *others]
        replace(fixture_run, rows=rows).save(folder / "results" / "two.json")
        write_pages(folder)
        text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
        assert ("SDPA 6.00 ms, 2.40x, 4.9e-07, another computation" in text) == marked
        assert ("2.40~" in str(replace(fixture_run, rows=rows))) == marked


def test_options_have_a_table_of_their_own(folder: Path) -> None:
    write_pages(folder)
    tables = {}
    for page in ("performance", "tuning"):
        text = (folder / "docs" / f"{page}.md").read_text(encoding="utf-8")
        table = text.split(pages.OPTIONS_BEGIN)[1].split(pages.OPTIONS_END)[0]
        assert "causal bias array" not in text.replace(table, "")
        assert "# avx512, 2 threads (`options.json`)" not in text
        assert "### Options, A CPU, avx512, 2 threads (`options.json`)" in table
        tables[page] = table
    row = "| 1x8x4096x64 causal bias array | 12.0 ms | 10.0 ms | 1.20 | 1.0e-07 "
    assert f"{row}| SDPA 6.00 ms, **0.50x, lost**, 1.0e-07 |\n" in tables["performance"]
    assert "| 11.0 ms | 10.0 ms | 1.10 | 1.0e-07 | - |\n" in tables["performance"]
    assert f"{row}| <= 1.15x plain: **missed by 4 %** (1.20x) |\n" in tables["tuning"]
    assert "| 11.0 ms | 10.0 ms | 1.10 | 1.0e-07 | none |\n" in tables["tuning"]
    assert "Targets met: 0 of 1." in tables["tuning"]


def test_gradients_have_tables_of_their_own(folder: Path, gradients_run: Report) -> None:
    write_pages(folder)
    assert "radients" not in (folder / "README.md").read_text(encoding="utf-8")
    gradients_run.save(folder / "results" / "gradients.json")
    write_pages(folder, cases=(*README_CASES, "backward-1k-d64"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "\nMeasured 2026-01-01" in readme
    assert "\nGradients measured 2026-03-03" in readme
    assert (
        "| 1x8x1024x64 gradients | 10.0 ms, 75.2 %, 1.0e-07 "
        "| PyTorch SDPA 30.0 ms, 3.00x, 1.0e-07 |"
    ) in readme
    assert ", of gradients relative to the largest number of each gradient." in readme
    assert "window 512" not in readme
    assert "faster than every rival in 2 of 3 rows" in readme
    text = (folder / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "#### avx512, 2 threads (`gradients.json`)" not in text
    part = text.split("#### Gradients, avx512, 2 threads (`gradients.json`)")[1]
    row = "| 1x8x1024x64 gradients | 10.0 ms | 1.0e-07 | PyTorch, 3.00x |"
    assert f"{row} SDPA 30.0 ms, 3.00x, 1.0e-07 |" in part
    tuning = (folder / "docs" / "tuning.md").read_text(encoding="utf-8")
    assert "#### Gradients, avx512, 2 threads (`gradients.json`)" in tuning
    assert "| 10.0 ms (752 GFLOP/s) | 75.2 % | 1.0e-07 | >= 78 % of the ceiling: **missed" in tuning
    missing = "- NumPy: has no gradients\n- PyTorch: BERT 8x12x128x64 gradients: no\n"
    assert missing in part
    assert "| 1x8x4096x64 window 512 gradients | 10.0 ms | 40.0 ms | 0.25 |" in part


def test_gradients_of_the_headline_run_repeat_no_machine(
    folder: Path, fixture_run: Report, gradients_run: Report
) -> None:
    for name, words in (("two", {}), ("one", {"threads": 1, "contenders": {OWN: "1.0"}})):
        both = replace(fixture_run, rows=fixture_run.rows + gradients_run.rows, **words)
        both.save(folder / "results" / f"{name}.json")
    write_pages(folder, cases=(*README_CASES, "backward-1k-d64"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.count("easured 2026") == 1
    assert readme.count("| 1x8x1024x64 gradients |") == 1


def test_check_notices_stale_pages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_pages(folder, "--check") == 1
    assert "out of date: README.md, performance.md, tuning.md" in capsys.readouterr().out
    write_pages(folder)
    assert write_pages(folder, "--check") == 0
    page = folder / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("85.9", "95.9"), encoding="utf-8")
    assert write_pages(folder, "--check") == 1


def test_pages_say_what_the_committed_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    if not (ROOT / "benchmarks" / "results").exists():
        pytest.skip("source distributions have no results")
    assert pages.main(["--check"]) == 0, capsys.readouterr().out


def test_page_without_markers_is_an_error(folder: Path) -> None:
    (folder / "README.md").write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md needs one <!-- headline:begin -->"):
        write_pages(folder)


def test_plot_of_the_same_numbers_is_the_same_file(fixture_run: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg", "c.png"):
        plot.save_plot(fixture_run, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").stat().st_size > 10_000
