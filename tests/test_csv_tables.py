"""CSV files: no cell is a formula, and every cell is read as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segrun.csv_tables import parse_table, read_column, write_table

FORMULAS = [
    os.fsdecode(b"=\xff"),
    "=1+1",
    "+cmd",
    "-x",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    '=HYPERLINK("http://x","y")',
    "'=1",
    "''-a",
    "＝1",
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_compute_begins_with_an_apostrophe_and_is_read_as_it_was(cell: str) -> None:
    write_table(Path("t.csv"), ("image", cell), [(cell, 1)])
    assert Path("t.csv").read_bytes().startswith((b"image,'", b"image,\"'"))
    assert parse_table(Path("t.csv").read_bytes()) == [["image", cell], [cell, "1"]]


@pytest.mark.parametrize("cell", ["a", "'a", "it's", "-0.5", "+1e-3", "-inf", "", "a=b", "3-4", "x\n=1"])
def test_other_cells_are_written_as_they_are(cell: str) -> None:
    write_table(Path("t.csv"), ("image",), [(cell, -0.5, 2)])
    assert Path("t.csv").read_bytes().decode().endswith(f"{cell},-0.5,2\r\n".replace("x\n=1", '"x\n=1"'))
    assert parse_table(Path("t.csv").read_bytes())[1] == [cell, "-0.5", "2"]


def test_files_of_older_versions_are_read_as_they_are() -> None:
    assert parse_table(b"image,class\r\n=1,-road\r\n'a,b\r\n") == [["image", "class"], ["=1", "-road"], ["'a", "b"]]


def test_names_copied_from_our_files_into_the_users_own_are_found() -> None:
    Path("groups.csv").write_text("image,patient\n'=1.png,A\n", encoding="utf-8")
    assert read_column(Path("groups.csv"), "patient", "split.groups") == {"=1": "A"}
