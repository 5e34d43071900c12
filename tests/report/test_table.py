"""Tables in every format, with names that need escaping."""

from __future__ import annotations

from rich.console import Console

from segrun.report.table import Table

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


def test_the_terminal_reads_no_markup_into_names() -> None:
    console = Console(width=80, record=True)
    console.print(TABLE.rich())
    assert "my_own & [x]" in console.export_text()
