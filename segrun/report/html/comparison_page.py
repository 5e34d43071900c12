"""A comparison as one page: the answer first, then tables, curves, confusion matrices and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrun.comparison.cells import called
from segrun.comparison.compare import Comparison
from segrun.comparison.scoring import Row
from segrun.report import comparison as words
from segrun.report.html.page import Note, Picture, Section, page
from segrun.report.plots import comparison as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = 4  # test images that are shown
SIDE = 220  # pixels of the longer side of each
ROWS = 60  # cells in the picture of all scores
CELLS = 12  # cells of which curves, confusion and masks are shown


def comparison_page(c: Comparison, title: str) -> str:
    best = ranked(c, CELLS)
    there = [row for row in c.rows if row.score]
    of_all = "" if len(best) == len(there) else f", of the {len(best)} best ranked of {len(there)}"
    said = [Note(line) for line in words.answer(c)]
    worths = [Note(str(worth)) for worth in c.worths]
    absent = words.gone(c)
    sections = [
        Section("answer", [*said, scores(c), words.score_table(c)]),
        *([Section("labels", [labels(c, best), *worths])] if c.curves else []),
        Section("score and cost", [cost(there, best), words.cost_table(c)]),
        Section("classes", [words.class_table(c), *matrices(best, c.test[1], of_all)]),
        Section("training", [drawn(plots.training(best), f"val mIoU, means over the seeds{of_all}")]),
        Section("pictures", [*grids(best)] or [Note("The runs have no samples.")]),
        *([Section("ranks", [words.standing(c)])] if len(c.blocks) > 1 else []),
        *([Section("notes", [Note(line) for line in c.notes])] if c.notes else []),
        *([Section("failed and missing", [Note(line, "warn") for line in absent])] if absent else []),
    ]
    return page(title, sections)


def ranked(c: Comparison, most: int) -> list[Row]:
    """Those that have scores, the best of each block first."""
    return sorted((row for row in c.rows if row.score), key=lambda row: row.rank)[:most]


def drawn(figure: Figure, caption: str) -> Picture:
    """A plot as a picture of the page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(110)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(caption, np.asarray(canvas.buffer_rgba())[..., :3].copy())


def scores(c: Comparison) -> Picture:
    """Block by block, the best of each first."""
    rows = ranked(c, ROWS)
    kept = {row.key for row in rows}
    caption = (
        f"each seed (|), their mean (•) and its 95 % interval. blue: better than {c.baseline}, red: worse "
        f"(p < {words.SIGNIFICANT} after Holm), grey: no difference shown"
    )
    if len(kept) < sum(row.score is not None for row in c.rows):
        caption += f". The {len(kept)} best ranked; all are in the table"
    return drawn(plots.differences([row for block in c.blocks.values() for row in block if row.key in kept]), caption)


def labels(c: Comparison, best: Sequence[Row]) -> Picture:
    """Of all, or where they are many of the best ranked and of the baselines."""
    place = c.by.index("labels")
    names = {row.key[:place] + row.key[place + 1 :] for row in best}
    few = len(c.curves) <= CELLS
    shown = {key: curve for key, curve in c.curves.items() if few or key in names or c.baseline in key}
    by = [key for key in c.by if key != "labels"]
    named = {called(by, key): curve for key, curve in shown.items()}
    of_all = "" if len(named) == len(c.curves) else f"; {len(named)} of {len(c.curves)}"
    return drawn(plots.labels(named), f"means, and their 95 % intervals over seeds and images{of_all}")


def cost(rows: Sequence[Row], named: Sequence[Row]) -> Picture:
    few = "" if len(named) == len(rows) else f"; the {len(named)} best ranked are named"
    return drawn(plots.pareto(rows, named), f"the line: none is both cheaper and better{few}")


def matrices(rows: Sequence[Row], classes: Sequence[str], of_all: str) -> Iterator[Note | Picture]:
    yield Note(f"in % of each true class (row) what it is predicted as (column), over all seeds{of_all}")
    for row in rows:
        if (share := plots.confusion(row)) is not None:
            yield drawn(plots.matrix(share, classes), str(row.cell))


def grids(rows: Sequence[Row]) -> Iterator[Picture]:
    """Image, truth, the mask of one run of each cell, and where these masks differ."""
    folders = {str(row.cell): next(iter(row.cell.runs.values())).folder / "samples" for row in rows}
    names = sorted({path.name for folder in folders.values() for path in folder.glob("*.png")})
    for name in names[:PICTURES]:
        panels = {cell: panel for cell, folder in folders.items() if (panel := thirds(folder / name))}
        if not panels:
            continue
        image, truth, _ = next(iter(panels.values()))
        yield Picture(f"{Path(name).stem}: image", image)
        yield Picture("truth", truth)
        guesses = {cell: guess for cell, (_, _, guess) in panels.items() if guess.shape == truth.shape}
        for cell, guess in guesses.items():
            yield Picture(cell, guess)
        first, *others = guesses.values()
        apart = np.any([(guess != first).any(-1) for guess in others], axis=0) if others else np.zeros(first.shape[:2])
        yield Picture("where they differ", np.where(apart[..., None], 255, image // 3).astype(np.uint8))


def thirds(path: Path) -> tuple[NDArray[np.uint8], ...] | None:
    """Image, truth and prediction of a sample's picture, made smaller; None where there is none."""
    try:
        with Image.open(path) as file:
            whole = np.asarray(file.convert("RGB"))
    except OSError:
        return None
    step = max(1, max(whole.shape[0], whole.shape[1] // 3) // SIDE)
    return tuple(part[::step, ::step] for part in np.split(whole[:, : whole.shape[1] // 3 * 3], 3, axis=1))
