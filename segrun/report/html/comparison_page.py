"""The page of a comparison: the answer first, then tables, plots and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segrun.comparison.cells import cell_name, without
from segrun.comparison.comparison import Comparison
from segrun.comparison.scoring import CellResult
from segrun.comparison.significance import SIGNIFICANCE_LEVEL
from segrun.report.comparison import answer_sentences, failure_lines, label_sentences
from segrun.report.comparison_tables import class_table, cost_table, rank_table, score_table
from segrun.report.html.page import Note, Picture, Section, page
from segrun.report.html.sample_pictures import sample_pictures
from segrun.report.plots import comparison as plots
from segrun.report.plots.figure import to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SCORES = 60  # cells in the plot of all scores
MOST_CELLS = 12  # cells in all other plots and pictures


def comparison_page(comparison: Comparison, title: str) -> str:
    """The HTML of the page."""
    scored = [result for result in comparison.results if result.score]
    best = best_ranked(comparison, MOST_CELLS)
    scope = "" if len(best) == len(scored) else f", for the {len(best)} best ranked of {len(scored)} cells"
    answers = [Note(sentence) for sentence in answer_sentences(comparison)]
    sections = [Section("answer", [*answers, score_picture(comparison), score_table(comparison)])]
    if comparison.learning_curves:
        notes = [Note(sentence) for sentence in label_sentences(comparison)]
        sections.append(Section("labels", [learning_curve_picture(comparison, best), *notes]))
    training_caption = f"val mIoU, means over the seeds{scope}"
    sections += [
        Section("score and cost", [cost_picture(scored, best), cost_table(comparison)]),
        Section("classes", [class_table(comparison), *confusion_pictures(comparison, best, scope)]),
        Section("training", [plot_picture(plots.plot_training_curves(best), training_caption)]),
        Section("pictures", list(sample_pictures(best)) or [Note("The runs have no samples.")]),
    ]
    if len(comparison.blocks) > 1:
        sections.append(Section("ranks", [rank_table(comparison)]))
    if comparison.notes:
        sections.append(Section("notes", [Note(note) for note in comparison.notes]))
    failures = failure_lines(comparison)
    if failures:
        sections.append(Section("failed and missing", [Note(line, "warn") for line in failures]))
    return page(title, sections)


def best_ranked(comparison: Comparison, most: int) -> list[CellResult]:
    """At most `most` cells that have scores, by their rank in their block."""
    scored = [result for result in comparison.results if result.score]
    return sorted(scored, key=lambda result: result.rank)[:most]


def plot_picture(figure: Figure, caption: str) -> Picture:
    """A plot as a picture of the page."""
    return Picture(caption, to_pixels(figure))


def score_picture(comparison: Comparison) -> Picture:
    """The scores of all cells, block by block, the best of each first."""
    shown_keys = {result.key for result in best_ranked(comparison, MOST_SCORES)}
    caption = (
        f"each seed (|), their mean (•) and its 95 % interval. Blue: better than {comparison.baseline}, red: worse "
        f"(p < {SIGNIFICANCE_LEVEL} after Holm's correction), grey: no significant difference"
    )
    if len(shown_keys) < sum(result.score is not None for result in comparison.results):
        caption += f". The {len(shown_keys)} best ranked cells; the table holds all"
    shown = [result for block in comparison.blocks.values() for result in block if result.key in shown_keys]
    return plot_picture(plots.plot_scores(shown), caption)


def learning_curve_picture(comparison: Comparison, best: Sequence[CellResult]) -> Picture:
    """All learning curves, or if there are too many those of the best ranked cells and of the baselines."""
    curves = comparison.learning_curves
    shown = curves
    if len(curves) > MOST_CELLS:
        position = comparison.by.index("labels")
        best_keys = {without(result.key, position) for result in best}
        shown = {key: curve for key, curve in curves.items() if key in best_keys or comparison.baseline in key}
    by = [key for key in comparison.by if key != "labels"]
    caption = "means and their 95 % intervals over seeds and images"
    if len(shown) < len(curves):
        caption += f", for {len(shown)} of {len(curves)} cells"
    return plot_picture(
        plots.plot_learning_curves({cell_name(by, key): curve for key, curve in shown.items()}), caption
    )


def cost_picture(results: Sequence[CellResult], named: Sequence[CellResult]) -> Picture:
    """Scores over costs. named: the cells whose names are shown."""
    caption = "the line joins the cells for which no other is both cheaper and better"
    if len(named) < len(results):
        caption += f"; only the {len(named)} best ranked are named"
    return plot_picture(plots.plot_costs(results, named), caption)


def confusion_pictures(comparison: Comparison, best: Sequence[CellResult], scope: str) -> list[Note | Picture]:
    """The confusion matrices of the best ranked cells."""
    content: list[Note | Picture] = [
        Note(f"confusion in % of each true class: truth by row, prediction by column, summed over the seeds{scope}")
    ]
    for result in best:
        percentages = plots.confusion_percentages(result)
        if percentages is not None:
            figure = plots.plot_confusion(percentages, comparison.evaluation_set.classes)
            content.append(plot_picture(figure, str(result.cell)))
    return content
