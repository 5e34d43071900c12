"""What is printed is text: no control characters, no markup, no emoji."""

from __future__ import annotations

import pytest
from rich.table import Table

from segrun.report.html.page import Bars, Note, Section, page
from segrun.report.terminal import console, print_line

HOSTILE = "\x1b[31m\r\x07[red]:smile:\u202e\x9b"
SHOWN = r"\u001b[31m\u000d\u0007[red]:smile:\u202e\u009b"


def test_a_line_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(f"name: {HOSTILE}", "red")
    assert capsys.readouterr().out == f"name: {SHOWN}\n"


def test_every_text_of_a_table_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(f"head {HOSTILE}", title=f"title {HOSTILE}", caption=f"caption {HOSTILE}", title_justify="left")
    table.add_row(f"cell {HOSTILE}")
    console().print(table)
    console().rule(f"rule {HOSTILE}")
    printed = capsys.readouterr().out
    for where in ("head", "title", "caption", "cell", "rule"):
        assert f"{where} {SHOWN}" in printed


def test_a_page_shows_control_characters_escaped() -> None:
    html = page(HOSTILE, [Section(HOSTILE, [Note(HOSTILE, HOSTILE), Bars(HOSTILE, [(HOSTILE, 1)])])])
    assert html.count(SHOWN) == 7 and not {"\x1b", "\r", "\x07", "\u202e", "\x9b"} & set(html)
