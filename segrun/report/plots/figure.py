"""Figures: made without a display, written to files or turned into pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segrun.files import atomic_write
from segrun.names import visible_name

if TYPE_CHECKING:  # matplotlib is imported when the first figure is made, so that a command starts without it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """An empty figure. Sizes are in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its folder is created."""
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def to_pixels(figure: Figure) -> NDArray[np.uint8]:
    """A figure as an image, (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def plot_label(name: str) -> str:
    """A name as matplotlib shows it: it would read formulas between dollar signs."""
    return visible_name(name).replace("$", r"\$")


def draw_confusion(
    axes: Axes,
    percentages: NDArray[np.floating[Any]],
    classes: Sequence[str],
    font_size: float,
    number_size: float | None,
) -> None:
    """A confusion matrix in percent of each true class: truth by row, prediction by column.

    Args:
        axes: Where to draw.
        percentages: (C, C).
        classes: The C class names.
        font_size: Of the class names, in points.
        number_size: Of the numbers in the cells, in points; None for no numbers.
    """
    classes = [plot_label(name) for name in classes]
    axes.imshow(percentages, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=font_size)
    axes.set_yticks(range(len(classes)), classes, fontsize=font_size)
    if number_size is None:
        return
    for row, column in np.ndindex(percentages.shape):
        value = float(percentages[row, column])
        if value >= 0.5:
            colour = "white" if value > 60 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=number_size, color=colour)
