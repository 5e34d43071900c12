"""Plots of a comparison: scores, learning curves, costs, training curves, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from segrun.comparison.bootstrap import CONFIDENCE_LEVEL
from segrun.comparison.iou import Floats
from segrun.comparison.label_efficiency import LearningCurve
from segrun.comparison.result_files import CURE, RESULT_FILE
from segrun.comparison.scoring import CellResult
from segrun.comparison.significance import SIGNIFICANCE_LEVEL
from segrun.errors import DataError
from segrun.report.metrics_file import FILE, read_epochs
from segrun.report.plots.figure import draw_confusion, new_figure, plot_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TAILS = ((1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2)
MOST_NUMBERED_CLASSES = 12  # beyond it a confusion matrix shows no numbers
COST_LABELS = {"seconds": "seconds of training", "parameters_trained": "trained parameters"}


def plot_scores(results: Sequence[CellResult]) -> Figure:
    """The score of each cell with its interval and its seeds, in colour if it differs from the baseline."""
    scored = [result for result in results if result.score and result.point]
    figure = new_figure(8, 0.3 * len(scored) + 1.2)
    axes = figure.subplots()
    for position, result in enumerate(scored):
        _draw_score(axes, position, result)
    axes.set_yticks(range(len(scored)), [plot_label(str(result.cell)) for result in scored])
    axes.invert_yaxis()
    axes.set(xlabel="mIoU in %")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _draw_score(axes: Axes, position: int, result: CellResult) -> None:
    if result.score is None or result.point is None:
        return
    colour = "black" if result.difference is None else "grey"
    if result.difference is not None and result.corrected_p < SIGNIFICANCE_LEVEL:
        colour = "tab:blue" if result.difference.mean > 0 else "tab:red"
    half_width = 0 if np.isnan(result.score.low) else 100 * (result.score.high - result.score.mean)
    axes.errorbar(100 * result.score.mean, position, xerr=half_width, fmt="o", color=colour, capsize=3)
    seed_scores = 100 * result.point.scores
    axes.plot(seed_scores, [position] * len(seed_scores), "|", color=colour, alpha=0.6)


def plot_learning_curves(curves: Mapping[str, LearningCurve]) -> Figure:
    """Scores over labelled images, on a logarithmic axis, with 95 % intervals over seeds and images.

    The interval of two seeds can be wider than the range of all scores; then it leaves the plot.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for name, curve in curves.items():
        _draw_learning_curve(axes, name, curve)
    counts = sorted({count for curve in curves.values() for count in curve})
    scores = [100 * point.scores for curve in curves.values() for point in curve.values()]
    low, high = min(values.min() for values in scores), max(values.max() for values in scores)
    margin = max(2.0, 0.3 * (high - low))
    axes.set(xscale="log", xlabel="labelled training images", ylabel="mIoU in %", ylim=(low - margin, high + margin))
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend(fontsize=7)
    return figure


def _draw_learning_curve(axes: Axes, name: str, curve: LearningCurve) -> None:
    counts = sorted(curve)
    axes.plot(counts, [100 * curve[count].scores.mean() for count in counts], marker="o", label=plot_label(name))
    draws = [curve[count].mean_draws for count in counts]
    intervals = [100 * np.quantile(mean_draws, TAILS) for mean_draws in draws if mean_draws is not None]
    if len(intervals) == len(counts):
        axes.fill_between(counts, *np.transpose(intervals), alpha=0.12)


def plot_costs(results: Sequence[CellResult], named: Sequence[CellResult]) -> Figure:
    """Scores over costs, with the Pareto front.

    Args:
        results: The cells to draw.
        named: Those of them whose names are shown.
    """
    figure = new_figure(11, 4.5)
    for axes, (key, label) in zip(figure.subplots(1, 2), COST_LABELS.items(), strict=True):
        points = [point for _, point in _cost_points(results, key)]
        axes.plot(*zip(*points, strict=True), "o", color="tab:blue")
        for name, point in _cost_points(named, key):
            axes.annotate(plot_label(name), point, textcoords="offset points", xytext=(4, 3), fontsize=7)
        axes.plot(*zip(*pareto_front(points), strict=True), color="tab:orange", drawstyle="steps-post", zorder=0)
        axes.margins(x=0.2)  # room for names
        axes.set(xlabel=label, ylabel="mIoU in %")
    return figure


def _cost_points(results: Sequence[CellResult], key: str) -> list[tuple[str, tuple[float, float]]]:
    """Name and (cost, score) of each cell that has both."""
    return [
        (str(result.cell), (result.cost[key], 100 * result.score.mean))
        for result in results
        if result.score is not None and key in result.cost
    ]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) points for which no other is both cheaper and better, by cost."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def plot_training_curves(results: Sequence[CellResult]) -> Figure:
    """Val mIoU over the steps, means over the seeds."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for result in results:
        mious_by_step: dict[int, list[float]] = {}
        for run in result.cell.runs.values():
            for row in read_epochs(run.folder / FILE):
                if "val" in row and row["val"]["miou"] is not None:
                    mious_by_step.setdefault(row["step"], []).append(100 * row["val"]["miou"])
        steps = sorted(mious_by_step)
        axes.plot(
            steps, [np.mean(mious_by_step[step]) for step in steps], marker=".", label=plot_label(str(result.cell))
        )
    axes.set(xlabel="step", ylabel="val mIoU in %")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def confusion_percentages(result: CellResult) -> Floats | None:
    """The confusion matrix in percent of each true class, summed over the seeds; None if a run has none.

    Raises:
        DataError: The matrix of a run has another size than the runs have classes.
    """
    matrices = [run.result[run.scored_split].get("confusion") for run in result.cell.runs.values()]
    if None in matrices:
        return None
    for run, matrix in zip(result.cell.runs.values(), matrices, strict=True):
        if len(matrix) != len(result.class_ious):
            raise DataError(
                f"{run.folder / RESULT_FILE}: {run.scored_split}.confusion: must have {len(result.class_ious)} rows "
                f"and columns, not {len(matrix)}. {CURE}"
            )
    counts = np.sum(matrices, axis=0)
    return np.asarray(100 * counts / np.maximum(1, counts.sum(1, keepdims=True)))


def plot_confusion(percentages: Floats, classes: Sequence[str]) -> Figure:
    """A confusion matrix: truth by row, prediction by column."""
    side = 1.6 + 0.3 * len(classes)
    figure = new_figure(side, side)
    number_size = 6 if len(classes) <= MOST_NUMBERED_CLASSES else None
    draw_confusion(figure.subplots(), percentages, classes, font_size=6, number_size=number_size)
    return figure
