"""How long runs were trained, which is to be equal in what is compared."""

from __future__ import annotations

from collections.abc import Sequence

from segrun.comparison.cells import Cell, Key, blocks
from segrun.comparison.runs import NONE, Run
from segrun.errors import RequestError

BUDGET = ("trainer.steps", "trainer.epochs", "trainer.batch_size", "trainer.accumulate")


def refuse_budgets(table: Sequence[Cell], by: Sequence[str], place: int) -> None:
    """What is compared, by the value at `place`, is trained equally long; blocks may differ.

    Raises:
        RequestError: two runs of a block with different budgets.
    """
    if any(key.partition(".")[0] == "trainer" for key in by):
        return
    for block in blocks(table, place).values():
        budgets = {_budget(run): run for cell in block for run in cell.runs.values()}
        if len(budgets) > 1:
            (one, first), (other, second), *_ = budgets.items()
            raise RequestError(
                f"{first.folder} and {second.folder} had different budgets: {' × '.join(one)}, {' × '.join(other)} "
                "(steps or epochs × batch × accumulated). Train them equally long (trainer.steps=…), or compare by "
                "that: by=[…,trainer.epochs]."
            )


def uneven(table: Sequence[Cell], by: Sequence[str]) -> list[str]:
    """What is to be said where cells that differ in their labels alone were not trained for equally many steps."""
    for block in blocks(table, by.index("labels")).values() if "labels" in by else ():
        trained = [{_budget(run) for run in cell.runs.values()} for cell in block if cell.runs]
        budgets = set().union(*trained)
        if len(trained) > 1 and (len(budgets) > 1 or any(length.endswith("epochs") for length, *_ in budgets)):
            return [
                "label counts had different budgets (of epochs, fewer labels have fewer steps): what more labels bring "
                "is in part what more steps bring. With trainer.steps=… all have equally many."
            ]
    return []


def _budget(run: Run) -> Key:
    """How much it was to train; `trainer.epochs` says nothing where the steps are given."""
    steps, epochs, *batch = (run.settings.get(key, NONE) for key in BUDGET)
    return (f"{epochs} epochs" if steps == NONE else f"{steps} steps", *batch)
