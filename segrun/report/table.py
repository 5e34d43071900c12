"""A table that can be written as HTML, Markdown and LaTeX, and shown in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rich.table import Table as RichTable

from segrun.names import visible_name

_LATEX_ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "−": "$-$", "×": r"$\times$", "Δ": r"$\Delta$", "<": "$<$", ">": "$>$",
}  # fmt: skip
LATEX = str.maketrans(_LATEX_ESCAPES)


@dataclass(frozen=True)
class Table:
    """A table of text. The first column is left-aligned and holds words, the others hold numbers.

    Control characters in cells are shown escaped in every format.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", visible_name(self.title))
        object.__setattr__(self, "head", tuple(map(visible_name, self.head)))
        object.__setattr__(self, "rows", tuple(tuple(map(visible_name, row)) for row in self.rows))

    def html(self) -> str:
        rows = [_html_row(self.head, "th"), *(_html_row(row, "td") for row in self.rows)]
        return f"<h3>{escape(self.title)}</h3><table>{''.join(rows)}</table>"

    def markdown(self) -> str:
        ruler = "|---" + "|---:" * (len(self.head) - 1) + "|"
        lines = [_markdown_row(self.head), ruler, *(_markdown_row(row) for row in self.rows)]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        begin = r"\begin{tabular}{l" + "r" * (len(self.head) - 1) + "}"
        body = [_latex_row(row) for row in self.rows]
        lines = [begin, r"\toprule", _latex_row(self.head), r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        return "\n".join(lines) + "\n"

    def rich(self) -> RichTable:
        """The table for the terminal, that is for `segrun.report.terminal.console()`."""
        table = RichTable(title=self.title, title_justify="left")
        for index, column in enumerate(self.head):
            table.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


def _html_row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(LATEX) for cell in cells) + r" \\"
