"""`segrun compare`: which configuration is better, by how much, and whether the difference is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from segrun.comparison.compare import compare
from segrun.comparison.comparison import Comparison
from segrun.comparison.runs import find_runs
from segrun.config.build import to_dataclass
from segrun.files import create_dir, timestamped_path, write_text
from segrun.names import visible
from segrun.report.comparison import all_sentences, failure_lines
from segrun.report.comparison_tables import comparison_tables, write_csv
from segrun.report.html.comparison_page import comparison_page
from segrun.report.table import Table
from segrun.report.terminal import console, print_line

ROWS, COLUMNS = 40, 16  # of a table in the terminal


@dataclass(frozen=True)
class CompareSettings:
    """Keys of `segrun compare`; see conf/compare.yaml."""

    runs: str | Sequence[str]
    baseline: str | int | float | bool | None
    by: str | Sequence[str] | None
    choose: str | Sequence[str]
    draws: Annotated[int, Ge(100)]
    output: str


@dataclass(frozen=True)
class CompareResult:
    """A comparison and the folder with index.html, table.md, table.csv and table.tex."""

    comparison: Comparison
    folder: Path


def run(config: Mapping[str, Any]) -> CompareResult:
    """Compare runs, print the tables and write them down.

    Raises:
        RequestError: There are no runs, or they cannot be compared.
    """
    settings = to_dataclass(config, CompareSettings, "")
    baseline = None if settings.baseline is None else str(settings.baseline)
    runs = find_runs(_words(settings.runs))
    result = compare(runs, _words(settings.by), baseline, _words(settings.choose), settings.draws)
    folder = create_dir(timestamped_path(settings.output, "compare"))
    tables = comparison_tables(result)
    lines = [*all_sentences(result), *result.notes, *failure_lines(result)]
    _write(folder, result, tables, lines)
    write_text(folder / "index.html", comparison_page(result, f"segrun compare: {len(runs)} runs"))
    _print(tables, lines, folder)
    return CompareResult(result, folder)


def _write(folder: Path, result: Comparison, tables: Sequence[Table], lines: Sequence[str]) -> None:
    listing = "".join(f"- {line}\n" for line in lines)
    markdown = [f"{table.title}\n\n{table.markdown()}" for table in tables]
    write_text(folder / "table.md", visible("\n".join([listing, *markdown])))
    write_text(folder / "table.tex", "\n".join(f"% {table.title}\n{table.latex()}" for table in tables))
    write_csv(folder / "table.csv", result)


def _print(tables: Sequence[Table], lines: Sequence[str], folder: Path) -> None:
    """As much as a terminal holds; the files hold everything."""
    for table in tables:
        if len(table.head) <= COLUMNS:
            console().print(Table(table.title, table.head, table.rows[:ROWS]).rich())
        if len(table.head) > COLUMNS or len(table.rows) > ROWS:
            print_line(f"{table.title}: all {len(table.rows)} rows are in {folder / 'table.md'}")
    for line in lines[:ROWS]:
        print_line(line)
    if len(lines) > ROWS:
        print_line(f"… and {len(lines) - ROWS} more lines in {folder / 'table.md'}")
    print_line(str(folder / "index.html"))


def _words(value: str | Sequence[str] | None) -> Sequence[str]:
    """One word, several, or none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
