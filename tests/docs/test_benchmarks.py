"""docs/benchmarks.md: the table is that of benchmarks/history.csv, and `make bench` adds to both."""

from __future__ import annotations

from pathlib import Path

from benchmarks import history

RESULTS = """# What hardtack costs

## Targets

| what | measured | target | held |
|---|---|---|---|
| a thing, in times of another | 1.59 | ≤ 1.5 | **no** |
| `import hardtack`, in times of the floor | 2.01 | ≥ 1 | yes |

## Tokens

| floor | 1.51 | ≤ 1 | no |
"""


def test_the_page_is_what_the_history_says() -> None:
    """Nobody has changed one without the other."""
    assert history.PAGE.read_text("utf-8").partition(history.MARKER)[2] == history.table(history.read())


def test_the_targets_are_read_from_the_results() -> None:
    """Only the ratios, and none of the times of other tables."""
    assert history.ratios_of(RESULTS) == [
        ("a thing, in times of another", "1.59", "≤ 1.5"),
        ("import hardtack, in times of the floor", "2.01", "≥ 1"),
    ]


def test_a_run_is_added(tmp_path: Path) -> None:
    """A column for each day; a second run of a day takes the place of the first; what was not measured is a dash."""
    file, page = tmp_path / "history.csv", tmp_path / "page.md"
    page.write_text("# Head\n" + history.MARKER + "old\n", "utf-8")

    history.append([("old thing", "1.00", "≤ 1"), ("thing", "2.00", "≤ 3")], "2031-05-08", file, page)
    history.append([("thing", "7.00", "≤ 3")], "2031-05-09", file, page)
    history.append([("thing", "2.50", "≤ 2")], "2031-05-09", file, page)

    head, _, rows = page.read_text("utf-8").partition(history.MARKER)
    assert head == "# Head\n"
    assert rows.splitlines()[2:] == ["| old thing | ≤ 1 | 1.00 | – |", "| thing | ≤ 2 | 2.00 | 2.50 |"]
    assert [(ratio.date, ratio.what, ratio.measured) for ratio in history.read(file)] == [
        ("2031-05-08", "old thing", "1.00"),
        ("2031-05-08", "thing", "2.00"),
        ("2031-05-09", "thing", "2.50"),
    ]


def test_the_page_shows_the_last_runs(tmp_path: Path) -> None:
    """Six of them; the file keeps all."""
    file, page = tmp_path / "history.csv", tmp_path / "page.md"
    page.write_text(history.MARKER, "utf-8")

    for day in range(1, 9):
        history.append([("thing", f"{day}.00", "≤ 9")], f"2031-05-0{day}", file, page)

    assert page.read_text("utf-8").splitlines()[-1] == "| thing | ≤ 9 | 3.00 | 4.00 | 5.00 | 6.00 | 7.00 | 8.00 |"
    assert len(history.read(file)) == 8
