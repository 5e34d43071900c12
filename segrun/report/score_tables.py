"""Scores as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from segrun.report.formats import percent

if TYPE_CHECKING:
    from segrun.metrics import Scores


def class_table(scores: Scores, title: str) -> Table:
    """IoU, Dice, precision and recall of each class in percent, and their means."""
    table = Table("class", title=title, title_justify="left")
    for column in ("IoU", "Dice", "precision", "recall", "pixels"):
        table.add_column(column, justify="right")
    metrics = (scores.iou, scores.dice, scores.precision, scores.recall)
    for index, name in enumerate(scores.classes):
        values = (percent(float(metric[index])) for metric in metrics)
        table.add_row(name, *values, f"{int(scores.matrix[index].sum()):,}")
    table.add_section()
    means = (percent(float(metric.nanmean())) for metric in metrics)
    table.add_row("mean", *means, f"{int(scores.matrix.sum()):,}")
    if scores.absent_classes:
        names = ", ".join(scores.absent_classes)
        table.caption = f"left out of the means, because neither in the truth nor in the predictions: {names}"
    return table


def confusion_table(scores: Scores) -> Table:
    """The confusion matrix in percent of each true class's pixels: truth by row, prediction by column."""
    table = Table("truth \\ prediction", title="confusion in % of each true class", title_justify="left")
    for name in scores.classes:
        table.add_column(name, justify="right")
    counts = scores.matrix.double()
    shares = counts / counts.sum(1, keepdim=True)
    for name, row in zip(scores.classes, shares, strict=True):
        table.add_row(name, *(percent(float(share)) for share in row))
    return table
