"""How long runs were trained. Only runs with equal budgets are compared."""

from __future__ import annotations

from collections.abc import Sequence

from segrun.comparison.cells import Cell, Key, make_blocks
from segrun.comparison.runs import Run
from segrun.config.keys import keys_that
from segrun.config.recorded import NONE
from segrun.errors import RequestError


def check_equal_budgets(cells: Sequence[Cell], by: Sequence[str], position: int) -> None:
    """Refuse blocks whose runs were trained for different lengths. Blocks may differ from each other.

    Args:
        cells: The cells that are compared.
        by: The keys that name cells.
        position: The position in `by` of the key whose values are compared.

    Raises:
        RequestError: Two runs of a block have different budgets.
    """
    if any(key.partition(".")[0] == "trainer" for key in by):
        return
    for block in make_blocks(cells, position).values():
        run_by_budget = {_budget(run): run for cell in block for run in cell.runs.values()}
        if len(run_by_budget) > 1:
            (budget, run), (other_budget, other_run), *_ = run_by_budget.items()
            raise RequestError(
                f"{run.folder} and {other_run.folder} have different budgets: {' × '.join(budget)} and "
                f"{' × '.join(other_budget)} (steps or epochs × batch size × accumulated batches). Train both for the "
                "same length (trainer.steps=…), or compare by the length as well: by=[…,trainer.epochs]."
            )


def budget_notes(cells: Sequence[Cell], by: Sequence[str]) -> list[str]:
    """A note for the user if cells that differ only in their labels were not trained for equally many steps."""
    if "labels" not in by:
        return []
    for block in make_blocks(cells, by.index("labels")).values():
        budgets_by_cell = [{_budget(run) for run in cell.runs.values()} for cell in block if cell.runs]
        budgets = set().union(*budgets_by_cell)
        in_epochs = any(length.endswith("epochs") for length, *_ in budgets)
        if len(budgets_by_cell) > 1 and (len(budgets) > 1 or in_epochs):
            return [
                "label counts have different budgets (with epochs, fewer labels mean fewer steps): part of the effect "
                "of more labels is an effect of more steps. Set trainer.steps=… to train all for equally many steps."
            ]
    return []


def _budget(run: Run) -> Key:
    """The length of a training; `trainer.epochs` does not matter if the steps are given."""
    values = {key: run.settings.get(key, NONE) for key in keys_that("budget")}
    steps, epochs = values.pop("trainer.steps"), values.pop("trainer.epochs")
    return (f"{epochs} epochs" if steps == NONE else f"{steps} steps", *values.values())
