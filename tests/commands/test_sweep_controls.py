"""experiment=compare_transfer: strategies that are trained in addition to the requested ones."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from segrun import cli
from tests.conftest import QUICK
from tests.sweeps.test_jobs import jobs

LINE = ["train", "experiment=compare_transfer"]  # without -m
CONTROLS = ("strategy=scratch", "strategy=feature_extraction")


def ended(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([*words])
    return int(end.value.code or 0)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The words of jobs, which are not run."""
    from hydra.core.plugins import Plugins

    Plugins.instance()  # loads the sweepers' module again
    words: list[set[str]] = []

    def launch(self: object, batch: Sequence[Sequence[str]]) -> None:
        words.extend(set(job) for job in batch)

    monkeypatch.setattr(importlib.import_module("hydra_plugins.segrun.sweepers").JobSweeper, "launch", launch)
    return words


@pytest.mark.slow
def test_a_strategy_and_its_controls_are_trained_with_the_same_budget(
    elsewhere: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["strategy=l2sp", "regularizer.l2sp.alpha=0.2", f"backbone.weights={pretrained}"]
    assert ended(*LINE, *QUICK, "trainer.epochs=1", "dataset.val=2", "dataset.test=2", *own) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: segrun compare runs=outputs/multirun"
    results = [json.loads((folder / "result.json").read_text()) for folder in jobs()]
    assert {result["names"]["strategy"] for result in results} == {"l2sp", "scratch", "feature_extraction"}
    assert {(result["cost"]["steps"], result["images"]["train"]) for result in results} == {(2, 8)}


def test_every_combination_of_the_other_words_has_each_control_once(launched: list[set[str]], elsewhere: Path) -> None:
    assert ended(*LINE, "labels=4,8", "strategy=l2sp,scratch", "seed=0,1", "loss=dice") == 0
    expected = [
        {LINE[1], f"labels={labels}", strategy, f"seed={seed}", "loss=dice"}
        for labels in (4, 8)
        for seed in (0, 1)
        for strategy in ("strategy=l2sp", *CONTROLS)
    ]
    assert sorted(map(sorted, launched)) == sorted(map(sorted, expected))


def test_a_control_has_its_own_strategy_and_nothing_else_of_its_own(launched: list[set[str]], elsewhere: Path) -> None:
    own = [
        "strategy=l2sp",
        "strategy.backbone_lr=0.2",
        "freeze=stages",
        "regularizer.l2sp.alpha=0.1,1",
        "optimizer.lr=0.1",
    ]
    assert ended(*LINE, *own, 'backbone.weights="own.pth"') == 0
    plain = {LINE[1], "optimizer.lr=0.1"}
    assert [words for words in launched if "strategy=l2sp" not in words] == [
        {*plain, CONTROLS[0]}, {*plain, CONTROLS[1], 'backbone.weights="own.pth"'},
    ]  # fmt: skip
    assert [words - plain for words in launched if "strategy=l2sp" in words] == [
        {*own[:3], 'backbone.weights="own.pth"', f"regularizer.l2sp.alpha={alpha}"} for alpha in (0.1, 1)
    ]


def test_without_a_strategy_that_of_the_config_is_beside_them(launched: list[set[str]], elsewhere: Path) -> None:
    words = ["experiment=[medical,compare_transfer]", 'dataset.root="scans"']
    assert ended("train", *words) == 0
    assert launched == [{*words}, {*words, CONTROLS[0]}]  # its own is the other control
    launched.clear()
    assert ended("train", "-m", "hydra.sweeper.controls=scratch", "seed=3") == 0
    assert launched == [{"seed=3"}, {"seed=3", CONTROLS[0]}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*LINE, "hydra.sweeper.controls=[scratch,frozen]"), "strategy has no option 'frozen'. Known: adaptformer, "),
        (("train", "-m", "experiment=camvid_transfer,compare_transfer", "dataset=shapes"), "asks for another sweep"),
        (("train", "-m", "search=rates,null"), "asks for another sweep"),
    ],
)
def test_controls_that_cannot_be_run_are_refused_before_anything_is(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert ended(*words) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert not (elsewhere / "outputs").exists()
