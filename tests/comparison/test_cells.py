"""Cells: named by the fewest keys, of runs that differ in their seed alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from segrun.comparison.cells import complete_blocks, differing_keys, distinguishing_keys, make_blocks, make_cells
from segrun.comparison.runs import Run
from segrun.comparison.selection import select_by_val
from segrun.config.recorded import RecordedConfig
from segrun.errors import RequestError
from tests.comparison.synthetic import config


def run(strategy: str = "finetune", seed: int = 0, labels: int | str = "all", val: float | None = 0.5,
        ended: bool = True, **changed: Any) -> Run:  # fmt: skip
    """Kept in a folder of its own, since what lies there tells which is newest."""
    folder = Path(f"{strategy}_{labels}_{seed}_{len(list(Path().iterdir()))}")
    folder.mkdir()
    (folder / "result.json").touch()
    values = config(strategy, seed, labels, **changed)
    result = {"val": {"miou": val}, "cost": {}} if ended else {}
    return Run(folder, result, RecordedConfig(values).comparable(), RecordedConfig(values).replicate())


def test_what_follows_from_a_strategy_does_not_name_cells() -> None:
    runs = [run(strategy, seed) for strategy in ("finetune", "gradual", "l2sp") for seed in (0, 1)]
    assert {"freeze", "schedule", "strategy._target_"} < set(differing_keys(runs))
    assert distinguishing_keys(runs) == ["strategy"]


def test_cells_are_named_by_the_fewest_keys() -> None:
    grid = [run(s, seed, n) for s in ("finetune", "l2sp") for n in (5, 20) for seed in (0, 1)]
    assert distinguishing_keys(grid) == ["strategy", "labels"]
    assert distinguishing_keys([run(optimizer__lr=lr) for lr in (0.1, 0.2)]) == ["optimizer.lr"]
    assert distinguishing_keys([run(seed=seed) for seed in (0, 1)]) == ["strategy"]
    lr_of_labels = [run(labels=n, optimizer__lr=0.1 * n) for n in (5, 20)]
    assert distinguishing_keys(lr_of_labels) == ["labels"]


def test_a_setting_that_changes_with_the_seed_is_told() -> None:
    runs = [run(seed=0, optimizer__lr=0.1), run(seed=1, optimizer__lr=0.2)]
    assert distinguishing_keys(runs) == ["optimizer.lr"]
    table, notes = make_cells(runs, ["strategy"])
    assert len(table) == 1 and notes == ["the runs of finetune differ in optimizer.lr, not only in their seed"]


def test_seeds_and_folds_are_copies() -> None:
    folds = [run(seed=seed, split__folds=3, split__fold=fold) for seed in (0, 1) for fold in (0, 1, 2)]
    table, notes = make_cells([run(seed=10), run(seed=9), run("l2sp", 9)], ["strategy"])
    assert [(str(cell), list(cell.runs)) for cell in table] == [("finetune", ["9", "10"]), ("l2sp", ["9"])]
    (cell,), notes = make_cells(folds, distinguishing_keys(folds))
    assert not notes and list(cell.runs) == [f"{seed}, fold {fold}" for seed in (0, 1) for fold in (0, 1, 2)]


def test_cells_stand_in_the_order_of_their_values() -> None:
    table, _ = make_cells([run(labels=n) for n in ("all", 20, 5, 100)], ["labels"])
    assert [cell.key for cell in table] == [("5",), ("20",), ("100",), ("all",)]


def test_of_two_runs_of_the_same_settings_the_newest_is_taken_and_named() -> None:
    runs = [run(), run(), run(seed=1)]
    os.utime(runs[0].folder / "result.json", (2e9, 2e9))
    (cell,), (note,) = make_cells(runs, ["strategy"])
    assert cell.runs["0"] is runs[0] and len(cell.runs) == 2
    assert str(runs[0].folder) in note and "2 runs of finetune have the seed 0" in note


def test_runs_of_a_seed_that_differ_are_refused_with_the_key() -> None:
    with pytest.raises(
        RequestError, match=r"2 runs of finetune have the seed 0 and differ in optimizer.lr.*by=\[…,opt"
    ):
        make_cells([run(optimizer__lr=lr) for lr in (0.1, 0.2)], ["strategy"])


def test_failed_runs_stay_with_their_cell() -> None:
    failed = [run("l2sp", ended=False), run("scratch", 1, ended=False)]
    table, _ = make_cells([run(), run("l2sp", 1), *failed], distinguishing_keys([run(), *failed]))
    assert [(str(cell), len(cell.runs), cell.failed) for cell in table] == [
        ("finetune", 1, ()), ("l2sp", 1, (failed[0],)), ("scratch", 0, (failed[1],)),
    ]  # fmt: skip


def rates(strategy: str, scores: dict[float, list[float | None]], **changed: Any) -> list[Run]:
    """A run for each rate and seed; scores: on val, by rate."""
    return [
        run(strategy, seed, val=score, optimizer__lr=lr, **changed)
        for lr, each in scores.items()
        for seed, score in enumerate(each)
    ]


def test_val_chooses_on_the_seeds_that_all_have() -> None:
    scores: dict[float, list[float | None]] = {0.1: [0.5, 0.9, 0.9], 0.2: [0.6], 0.3: [None, 0.9]}
    runs = [*rates("finetune", scores), *rates("l2sp", {0.1: [0.7, 0.1], 0.2: [0.5, 0.4]})]
    left, notes = select_by_val(runs, ["strategy"], ["optimizer.lr"])
    kept = {(each.settings["strategy"], each.settings["optimizer.lr"], each.seed) for each in left}
    assert kept == {("finetune", "0.2", "0"), ("l2sp", "0.2", "0"), ("l2sp", "0.2", "1")}
    assert notes == [
        "finetune: optimizer.lr=0.2, the best of 3 by val (seeds 0)",
        "l2sp: optimizer.lr=0.2, the best of 2 by val (seeds 0, 1)",
    ]


def test_choosing_loses_no_failed_run_of_what_is_chosen() -> None:
    runs = [*rates("finetune", {0.1: [0.5], 0.2: [0.6]}), run(seed=1, ended=False, optimizer__lr=0.2),
            run(seed=0, ended=False, optimizer__lr=0.3), run("l2sp", ended=False)]  # fmt: skip
    left, notes = select_by_val(runs, ["strategy"], ["optimizer.lr"])
    assert [each.folder for each in left] == [each.folder for each in (runs[1], runs[2], runs[4])]
    assert notes[0].endswith("1 without a finished run")


def test_without_a_common_seed_nothing_can_be_chosen() -> None:
    runs = [run(seed=0, optimizer__lr=0.1), run(seed=1, optimizer__lr=0.2)]
    with pytest.raises(RequestError, match=r"^choose=optimizer.lr: the runs of finetune have no seed in common"):
        select_by_val(runs, ["strategy"], ["optimizer.lr"])


def test_a_cell_that_a_block_lacks_is_empty() -> None:
    table, _ = make_cells(
        [run("finetune", labels=5), run("finetune", labels=20), run("l2sp", labels=5)], ["strategy", "labels"]
    )
    whole = complete_blocks(table, ["strategy", "labels"], 0)
    assert {(cell.key, len(cell.runs)) for cell in whole} == {
        (("finetune", "5"), 1), (("finetune", "20"), 1), (("l2sp", "5"), 1), (("l2sp", "20"), 0),
    }  # fmt: skip
    assert {key: [cell.key[0] for cell in each] for key, each in make_blocks(whole, 0).items()} == {
        ("5",): ["finetune", "l2sp"], ("20",): ["finetune", "l2sp"],
    }  # fmt: skip
