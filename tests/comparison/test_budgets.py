"""Budgets: equal in what is compared, and told where label counts had others."""

from __future__ import annotations

import pytest

from segrun.comparison.budgets import budget_notes, check_equal_budgets
from segrun.comparison.cells import Cell, make_cells
from segrun.comparison.runs import Run
from segrun.errors import RequestError
from tests.comparison.test_cells import run


def test_other_budgets_are_refused_inside_a_block_with_both_folders() -> None:
    def table(*runs: Run, by: tuple[str, ...] = ("strategy",)) -> None:
        check_equal_budgets([Cell(tuple(each.settings[k] for k in by), {"0": each}) for each in runs], by, 0)

    table(run(), run("l2sp", trainer__epochs=30))  # steps are given
    one, other = run(), run("l2sp", trainer__steps=200)
    with pytest.raises(
        RequestError, match=f"{one.folder} and {other.folder} have different budgets: 100 steps × 4 × 1 and "
    ):
        table(one, other)
    with pytest.raises(RequestError, match=r"12 epochs × 4 × 1 and 12 epochs × 8 × 1"):
        table(run(trainer__steps=None), run("l2sp", trainer__steps=None, trainer__batch_size=8))
    table(one, other, by=("strategy", "trainer.steps"))
    table(run(labels=5), run("l2sp", labels=20, trainer__steps=200), by=("strategy", "labels"))


def test_label_counts_of_other_budgets_are_told() -> None:
    def told(*runs: Run, by: tuple[str, ...] = ("strategy", "labels")) -> bool:
        return bool(budget_notes(make_cells(runs, by)[0], by))

    assert told(run(labels=5, trainer__steps=None), run(labels=20, trainer__steps=None))
    assert told(run(labels=5), run(labels=20, trainer__steps=200))
    assert not told(run(labels=5), run(labels=20), run("l2sp", labels=5, trainer__steps=200))
    assert not told(run(labels=5, trainer__steps=None), run("l2sp", labels=20, trainer__steps=None))
    assert not told(run(labels=5, trainer__steps=None), run(labels=20, trainer__steps=None, ended=False))
    assert not told(run(trainer__steps=None), run("l2sp", trainer__steps=None), by=("strategy",))
