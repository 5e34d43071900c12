"""Tables in every format, with names that need escaping."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from segrun.report.table import Table
from segrun.report.terminal import console

TABLE = Table("scores <b>", ("strategy", "a|b"), [("my_own & [x]", "< 0.001"), (r"~\^", "5 %")])


def test_html_escapes_names() -> None:
    html = TABLE.html()
    assert html.startswith("<h3>scores &lt;b&gt;</h3><table><tr><th>strategy</th><th>a|b</th></tr>")
    assert "<td>my_own &amp; [x]</td><td>&lt; 0.001</td>" in html


def test_markdown_escapes_its_separator() -> None:
    assert TABLE.markdown().splitlines()[:3] == [r"| strategy | a\|b |", "|---|---:|", "| my_own & [x] | < 0.001 |"]


def test_latex_escapes_its_commands() -> None:
    lines = TABLE.latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lr}" and lines[-1] == r"\end{tabular}"
    assert lines[4] == r"my\_own \& [x] & $<$ 0.001 \\"
    assert lines[5] == r"\textasciitilde{}\textbackslash{}\textasciicircum{} & 5 \% \\"


def test_the_terminal_reads_no_markup_into_names(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(TABLE.rich())
    assert "my_own & [x]" in capsys.readouterr().out


@pytest.mark.parametrize("written", [Table.markdown, Table.latex, Table.html])
def test_control_characters_in_cells_are_escaped_in_every_format(written: Callable[[Table], str]) -> None:
    text = written(Table("t\x9b", ("a\x07", "b"), [("\x1b[2J", "x\u202ey\nz")]))
    assert not re.search("[\x07\x1b\x9b\u202e]", text)
    assert "u001b[2J" in text and "u000az" in text
