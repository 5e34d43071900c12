"""`segrun compare`: which way of training is better, by how much, and whether the difference is real."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segrun.comparison.compare import Comparison, compare
from segrun.comparison.runs import found
from segrun.config.compose import Config, to_dict
from segrun.errors import RequestError
from segrun.files import create_dir, write_text
from segrun.report import comparison as words
from segrun.report.html.comparison_page import comparison_page
from segrun.report.html.page import Table
from segrun.report.terminal import console, print_line

ROWS, COLUMNS = 40, 16  # of a table in the terminal


@dataclass(frozen=True)
class Compared:
    """folder: where index.html, table.md, table.csv and table.tex are."""

    comparison: Comparison
    folder: Path


def run(cfg: Config) -> Compared:
    values = to_dict(cfg)
    if not isinstance(values["draws"], int) or values["draws"] < 100:
        raise RequestError(f"draws={values['draws']}: a hundred or more.")
    baseline = None if values["baseline"] is None else str(values["baseline"])
    runs = found(_listed(values["runs"]))
    result = compare(runs, _listed(values["by"]), baseline, _listed(values["choose"]), values["draws"])
    clock = Path(values["output"]).expanduser() / "compare" / time.strftime("%Y-%m-%d") / time.strftime("%H-%M-%S")
    folder = create_dir(clock)
    tables = words.tables(result)
    said = [*words.sentences(result), *result.notes, *words.gone(result)]
    listing = "".join(f"- {line}\n" for line in said)
    write_text(folder / "table.md", "\n".join([listing, *(f"{each.title}\n\n{each.markdown()}" for each in tables)]))
    write_text(folder / "table.tex", "\n".join(f"% {table.title}\n{table.latex()}" for table in tables))
    words.write_csv(folder / "table.csv", result)
    write_text(folder / "index.html", comparison_page(result, f"segrun compare: {len(runs)} runs"))
    show(tables, said, folder)
    return Compared(result, folder)


def show(tables: Sequence[Table], said: Sequence[str], folder: Path) -> None:
    """As much as a terminal holds; the files hold all."""
    out = console()
    for table in tables:
        if len(table.head) <= COLUMNS:
            out.print(Table(table.title, table.head, table.rows[:ROWS]).shown())
        if len(table.head) > COLUMNS or len(table.rows) > ROWS:
            out.print(f"{table.title}: all {len(table.rows)} rows are in {folder / 'table.md'}", markup=False)
    for line in said[:ROWS]:
        print_line(line)
    if len(said) > ROWS:
        print_line(f"… and {len(said) - ROWS} more lines in {folder / 'table.md'}")
    print_line(str(folder / "index.html"))


def _listed(value: Any) -> Sequence[str]:
    """One, several, or none."""
    return [] if value is None else [value] if isinstance(value, str) else [str(each) for each in value]
