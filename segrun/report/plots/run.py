"""Plots of a run: training curves, confusion matrix, IoU per class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segrun.metrics import Scores
from segrun.report.metrics_file import read_epochs
from segrun.report.plots.figure import draw_confusion, new_figure, plot_label, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_SIDE = 24.0  # inches: with a hundred classes a matrix would take gigabytes to draw
MOST_NUMBERED_CLASSES = 30  # beyond it a confusion matrix shows no numbers
TASK_LABELS = {"losses": "loss per task, unweighted", "weights": "weight per task"}

Row = Mapping[str, Any]  # one line of metrics.jsonl


def save_curves(metrics: Path, path: Path) -> None:
    """Plot training loss, val loss and val mIoU over the epochs. Dotted lines separate the phases.

    If there are several tasks, each one's own loss and weight are plotted as well.

    Args:
        metrics: metrics.jsonl of the run.
        path: The PNG file to write.
    """
    rows: Sequence[Row] = read_epochs(metrics)
    if not rows:  # the file was deleted
        return
    task_keys = [key for key in TASK_LABELS if len(rows[-1].get(key, ())) > 1]
    num_plots = 2 + len(task_keys)
    figure = new_figure(4.5 * num_plots, 3.4)
    all_axes = figure.subplots(1, num_plots)
    _draw_losses(all_axes[0], rows)
    _draw_val_miou(all_axes[1], rows)
    for axes, key in zip(all_axes[2:], task_keys, strict=True):
        _draw_tasks(axes, rows, key)
    for previous, row in itertools.pairwise(rows):
        if previous.get("phase") != row.get("phase"):
            for axes in all_axes:
                axes.axvline(previous["epoch"] + 0.5, color="grey", linestyle=":")
    save_figure(figure, path)


def _draw_losses(axes: Axes, rows: Sequence[Row]) -> None:
    scored = [row for row in rows if "val" in row]
    axes.plot([row["epoch"] for row in rows], [row["loss"] for row in rows], label="train")
    axes.plot([row["epoch"] for row in scored], [row["val"]["loss"] for row in scored], label="val")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()


def _draw_val_miou(axes: Axes, rows: Sequence[Row]) -> None:
    scored = [row for row in rows if "val" in row]
    mious = [100 * (row["val"]["miou"] or 0) for row in scored]
    axes.plot([row["epoch"] for row in scored], mious, color="tab:green")
    axes.set(xlabel="epoch", ylabel="val mIoU in %")


def _draw_tasks(axes: Axes, rows: Sequence[Row], key: str) -> None:
    for name in rows[-1][key]:
        with_task = [row for row in rows if name in row.get(key, {})]
        axes.plot([row["epoch"] for row in with_task], [row[key][name] for row in with_task], label=plot_label(name))
    axes.set(xlabel="epoch", ylabel=TASK_LABELS[key])
    axes.legend()


def save_confusion(scores: Scores, path: Path, split: str) -> None:
    """Plot the confusion matrix in percent of each true class: truth by row, prediction by column."""
    counts = scores.matrix.double()
    percentages = (100 * counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    num_classes = len(percentages)
    side = min(max(4.0, 0.5 * num_classes + 2), LARGEST_SIDE)
    font_size = min(10.0, 0.8 * 72 * (side - 2) / num_classes)  # a name is as high as its row; 72 points per inch
    figure = new_figure(side, side)
    axes = figure.subplots()
    number_size = 8 if num_classes <= MOST_NUMBERED_CLASSES else None
    draw_confusion(axes, percentages, scores.classes, font_size, number_size)
    axes.set(xlabel="prediction", ylabel="truth", title=f"{split}: % of each true class")
    save_figure(figure, path)


def save_class_bars(scores: Scores, path: Path, split: str) -> None:
    """Plot the IoU of each class as a bar."""
    figure = new_figure(7, 0.32 * len(scores.classes) + 1.4)
    axes = figure.subplots()
    values = [0.0 if math.isnan(iou) else 100 * iou for iou in scores.iou.tolist()]
    axes.barh(range(len(values)), values, color="tab:blue")
    axes.set_yticks(range(len(values)), [plot_label(name) for name in scores.classes])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=f"{split} IoU in % (mean {100 * scores.miou:.1f})")
    save_figure(figure, path)
