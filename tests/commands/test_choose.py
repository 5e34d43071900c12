"""`segrun choose`: successive halving on val, the winner trained, and what choosing it cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import segrun
from segrun import cli
from segrun.checkpoints import checkpoint
from segrun.data.sets.shapes import Shapes
from segrun.errors import RequestError
from tests.conftest import QUICK, stopped_after

WORDS = [*QUICK, "strategy=scratch", "dataset.val=2", "dataset.test=2", "trainer.steps=6"]
RATES = "optimizer.lr=1e-2,1e-6,1e-3"


def choose(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["choose", *WORDS, *words])
    return int(ended.value.code or 0)


def results(kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path("outputs", kind).glob("*/result.json"))]


def winner() -> Path:
    (path,) = Path("outputs", "choose").glob("*/result.json")
    return path.parent


def ranked(scores: dict[float, float]) -> list[float]:
    """Rates in the order in which they were asked for, the highest score first."""
    return sorted((1e-2, 1e-6, 1e-3), key=lambda rate: -scores.get(rate, -1))


@pytest.mark.slow
def test_every_rung_halves_the_configurations_and_the_best_on_val_is_trained_as_if_alone(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(RATES) == 0
    printed = " ".join(capsys.readouterr().out.split())
    rungs: dict[int, dict[float, float]] = {}
    for result in results("search"):
        scored = rungs.setdefault(result["cost"]["steps"], {})
        scored[result["config"]["optimizer"]["lr"]] = result["val"]["miou_present"]
        assert result["test"] is None and result["epochs"] == 2, "each rung runs all epochs"
    # two rungs of 6 steps each, so 12/(3·2) and 12/(2·2) steps per configuration (Jamieson & Talwalkar, AISTATS 2016)
    assert set(rungs) == {2, 3} and len(rungs[2]) == 3
    assert set(rungs[3]) == set(ranked(rungs[2])[:2])
    rate = ranked(rungs[3])[0]
    (chosen,) = results("choose")
    assert (
        chosen["config"]["optimizer"]["lr"] == rate and f"optimizer.lr={rate} is trained: val miou_present" in printed
    )
    alone = segrun.train([*WORDS, f"optimizer.lr={rate}", "output=alone"])
    assert alone.test == chosen["test"] and chosen["cost"]["steps"] == 6
    ours, theirs = (checkpoint.read(folder / "best.ckpt").weights for folder in (winner(), alone.folder))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    spent = [result["cost"] for result in results("search")]
    assert chosen["choosing"]["steps"] == sum(cost["steps"] for cost in spent) == 12
    assert chosen["choosing"]["seconds"] == pytest.approx(sum(cost["seconds"] for cost in spent), abs=0.02)
    assert [rung["steps"] for rung in chosen["choosing"]["rungs"]] == [2, 3]

    before = (winner() / "result.json").read_bytes()
    with stopped_after(1) as steps:
        assert choose(RATES) == 0
    assert not steps and (winner() / "result.json").read_bytes() == before, "the same command again trains nothing"


@pytest.mark.slow
def test_a_choice_that_was_interrupted_continues_and_ends_the_same(elsewhere: Path) -> None:
    line = ("optimizer.lr=1e-2,1e-6", "trainer.steps=4")
    assert choose(*line, "output=whole") == 0
    with stopped_after(3) as steps:
        assert choose(*line) == 130
        assert choose(*line) == 0
        assert len(steps) == 2 + 2 + 4, "what was done is not done again"
    (ours,) = results("choose")
    (whole,) = (json.loads(path.read_text()) for path in Path("whole", "choose").glob("*/result.json"))
    assert ours["test"] == whole["test"] and ours["choosing"]["rungs"] == whole["choosing"]["rungs"]


@pytest.mark.slow
def test_no_test_image_is_read_before_the_winner_is_scored(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, read = Shapes.image, list[tuple[str, int]]()

    def watched(self: Shapes, name: str) -> Any:
        read.append((name.partition("-")[0], len(list(Path("outputs").glob("search/*/result.json")))))
        return plain(self, name)

    monkeypatch.setattr(Shapes, "image", watched)
    assert choose("optimizer.lr=1e-2,1e-6", "trainer.steps=4") == 0
    assert {done for split, done in read if split == "test"} == {2} and {split for split, _ in read} > {"test"}


@pytest.mark.slow
def test_a_configuration_that_cannot_be_trained_is_named_and_dropped(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose("strategy=finetune", "backbone.weights=a.pth,none,b.pth") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name in ("a.pth", "b.pth"):
        assert f'failed: backbone.weights="{name}": backbone.weights={name}: there is no such file' in printed
    (chosen,) = results("choose")
    assert chosen["config"]["backbone"]["weights"] == "none"
    assert choose("strategy=finetune", "backbone.weights=a.pth,b.pth") == 2
    assert "none of 2 configurations could be trained: backbone.weights=a.pth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=1e-3"], "there is only one configuration"),
        (["seed=0,1"], "a score on val cannot choose between these"),
        (["experiment=nuclei,medical"], "a score on val cannot choose between these"),
        (["trainer.batch_size=2,4"], "a score on val cannot choose between these"),
        (["optimizer.lr=interval(1e-4,1e-2)"], "only a search draws from an interval"),
        (
            [RATES, "budget=11"],
            "budget=11: 2 rungs, the first with 3 configurations and 2 epochs of one step each, need 12",
        ),
        ([RATES, "hydra.sweeper.objective=loss"], "hydra.sweeper.objective=loss: must be one of miou_present"),
        ([RATES, "hed=fcn"], "there is no key 'hed'. Did you mean head?"),
        (["strategy=finetune,finetun"], "finetune"),
    ],
)
def test_what_cannot_be_chosen_among_is_refused_before_anything_is_run(
    words: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(*words) == 2
    printed = capsys.readouterr().err
    assert message in " ".join(printed.split()) and "Traceback" not in printed and len(printed.splitlines()) <= 2
    assert not Path("outputs").exists()


@pytest.mark.parametrize("word", ["search=rates", "experiment=compare_transfer"])
def test_from_python_many_trainings_are_refused(word: str, elsewhere: Path) -> None:
    with pytest.raises(RequestError, match=f"^{word}: asks for several trainings"):
        segrun.train([word])
    assert not Path("outputs").exists()
