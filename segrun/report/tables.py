"""Tables of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from segrun.metrics import Scores


def percent(value: float | None) -> str:
    return "–" if value is None or value != value else f"{100 * value:.1f}"


def class_table(scores: Scores, title: str) -> Table:
    """IoU, Dice, precision and recall of each class in percent, and their means."""
    table = Table("class", title=title, title_justify="left")
    for column in ("IoU", "Dice", "precision", "recall", "pixels"):
        table.add_column(column, justify="right")
    columns = (scores.iou, scores.dice, scores.precision, scores.recall)
    for i, name in enumerate(scores.classes):
        table.add_row(name, *(percent(float(c[i])) for c in columns), f"{int(scores.matrix[i].sum()):,}")
    table.add_section()
    means = (percent(float(c.nanmean())) for c in columns)
    table.add_row("mean", *means, f"{int(scores.matrix.sum()):,}")
    if scores.absent:
        table.caption = f"neither in truth nor in prediction, so left out: {', '.join(scores.absent)}"
    return table


def confusion_table(scores: Scores) -> Table:
    """Truth by row, prediction by column, in percent of the true class's pixels."""
    table = Table("truth \\ prediction", title="confusion in % of each true class", title_justify="left")
    for name in scores.classes:
        table.add_column(name, justify="right")
    counts = scores.matrix.double()
    for name, row in zip(scores.classes, counts / counts.sum(1, keepdim=True), strict=True):
        table.add_row(name, *(percent(float(share)) for share in row))
    return table
