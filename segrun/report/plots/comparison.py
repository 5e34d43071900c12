"""A comparison drawn: scores, labels, costs, curves, confusion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segrun.comparison.bootstrap import LEVEL, Floats
from segrun.comparison.efficiency import Curve
from segrun.comparison.runs import Run
from segrun.comparison.scoring import Row
from segrun.errors import DataError
from segrun.report.comparison import SIGNIFICANT
from segrun.report.html.page import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
NUMBERED = 12  # classes up to which a confusion matrix shows its numbers


def differences(rows: Sequence[Row]) -> Figure:
    """Each cell's score, its interval and its seeds; in colour where it differs from the baseline."""
    figure = new_figure(8, 0.3 * len(rows) + 1.2)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        assert row.score and row.point
        colour = "black" if row.difference is None else "grey"
        if row.difference is not None and row.corrected < SIGNIFICANT:
            colour = "tab:blue" if row.difference.mean > 0 else "tab:red"
        reach = 0 if np.isnan(row.score.low) else 100 * (row.score.high - row.score.mean)
        axes.errorbar(100 * row.score.mean, place, xerr=reach, fmt="o", color=colour, capsize=3)
        axes.plot(100 * row.point.scores, [place] * len(row.point.scores), "|", color=colour, alpha=0.6)
    axes.set_yticks(range(len(rows)), [str(row.cell) for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="mIoU in %")
    axes.grid(axis="x", alpha=0.3)
    return figure


def labels(curves: Mapping[str, Curve]) -> Figure:
    """Score over labelled images, on a logarithmic scale, with 95 % intervals over seeds and images; those of two
    seeds may be wider than all scores are apart, and leave the picture."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for name, curve in curves.items():
        counts = sorted(curve)
        axes.plot(counts, [100 * curve[count].scores.mean() for count in counts], marker="o", label=name)
        ends = [100 * np.quantile(means, TAILS) for count in counts if (means := curve[count].means) is not None]
        if len(ends) == len(counts):
            axes.fill_between(counts, *np.transpose(ends), alpha=0.12)
    ticks = sorted({count for curve in curves.values() for count in curve})
    scores = [100 * point.scores for curve in curves.values() for point in curve.values()]
    low, high = min(each.min() for each in scores), max(each.max() for each in scores)
    room = max(2.0, 0.3 * (high - low))
    axes.set(xscale="log", xlabel="labelled training images", ylabel="mIoU in %", ylim=(low - room, high + room))
    axes.set_xticks(ticks, [str(advance) for advance in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=7)
    return figure


def pareto(rows: Sequence[Row], named: Sequence[Row]) -> Figure:
    """Score against what it costs; a line through those that nothing beats in both. named: those with their names."""
    figure = new_figure(11, 4.5)
    costs = {"seconds": "seconds of training", "parameters_trained": "parameters trained"}
    for axes, (key, what) in zip(figure.subplots(1, 2), costs.items(), strict=True):
        points = [(row.cost[key], 100 * row.score.mean) for row in rows if row.score and key in row.cost]
        axes.plot(*zip(*points, strict=True), "o", color="tab:blue")
        for row in named:
            if row.score and key in row.cost:
                at = (row.cost[key], 100 * row.score.mean)
                axes.annotate(str(row.cell), at, textcoords="offset points", xytext=(4, 3), fontsize=7)
        axes.plot(*zip(*front(points), strict=True), color="tab:orange", drawstyle="steps-post", zorder=0)
        axes.margins(x=0.2)  # room for names
        axes.set(xlabel=what, ylabel="mIoU in %")
    return figure


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, score), those than which none is both cheaper and better, by their cost."""
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or score > best[-1][1]:
            best.append((cost, score))
    return best


def training(rows: Sequence[Row]) -> Figure:
    """Val mIoU over the steps, means over the seeds."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for row in rows:
        steps: dict[int, list[float]] = {}
        for run in row.cell.runs.values():
            for line in looks(run):
                if line["val"]["miou"] is not None:
                    steps.setdefault(line["step"], []).append(100 * line["val"]["miou"])
        axes.plot(sorted(steps), [np.mean(steps[step]) for step in sorted(steps)], marker=".", label=str(row.cell))
    axes.set(xlabel="step", ylabel="val mIoU in %")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def looks(run: Run) -> Iterator[dict[str, Any]]:
    """The epochs of metrics.jsonl that looked at val.

    Raises:
        DataError: a line of it is not whole.
    """
    path = run.folder / "metrics.jsonl"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: is not whole ({error}). Train the run anew, or leave it out.") from error
        if "val" in row:
            yield row


def confusion(row: Row) -> Floats | None:
    """Summed over a cell's seeds, in % of each true class; None where a run tells none."""
    found = [run.result[run.split].get("confusion") for run in row.cell.runs.values()]
    if None in found:
        return None
    counts = np.sum(found, axis=0)
    return np.asarray(100 * counts / np.maximum(1, counts.sum(1, keepdims=True)))


def matrix(share: Floats | NDArray[np.float64], classes: Sequence[str]) -> Figure:
    """Truth by row, prediction by column."""
    figure = new_figure(*([1.6 + 0.3 * len(classes)] * 2))
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for i, j in np.ndindex(share.shape) if len(share) <= NUMBERED else ():
        if share[i, j] >= 0.5:
            colour = "white" if share[i, j] > 60 else "black"
            axes.text(j, i, f"{share[i, j]:.0f}", ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=6)
    axes.set_yticks(range(len(classes)), classes, fontsize=6)
    return figure
