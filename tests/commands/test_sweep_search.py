"""A search: it chooses on val, reads no test image, and the same command continues it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from segrun import cli
from segrun.config.options import option_names
from segrun.data.sets.shapes import Shapes
from tests.conftest import QUICK, stopped_after
from tests.sweeps.test_jobs import sweep

optuna = pytest.importorskip("optuna")

SEARCH = ("strategy=scratch", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3")
RATE = "optimizer.lr=tag(log,interval(1e-4,1e-2))"


def trials(output: str = "outputs") -> list[Any]:
    (path,) = Path(output, "search").glob("*.db")
    return optuna.load_study(study_name="search", storage=f"sqlite:///{path.absolute()}").trials  # type: ignore[no-any-return]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The splits whose images or masks were read."""
    splits: set[str] = set()

    def watched(plain: Any) -> Any:
        def reading(self: Shapes, name: str) -> Any:
            splits.add(name.partition("-")[0])
            return plain(self, name)

        return reading

    monkeypatch.setattr(Shapes, "image", watched(Shapes.image))
    monkeypatch.setattr(Shapes, "mask", watched(Shapes.mask))
    return splits


@pytest.mark.slow
def test_a_search_reads_nothing_of_the_test_split_and_names_its_best(
    read: set[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(*SEARCH, RATE, "trainer.epochs=3") == 0
    assert read == {"train", "val"}
    printed = capsys.readouterr().out
    scores = {}
    for path in elsewhere.glob("outputs/search/*/result.json"):
        result = json.loads(path.read_text())
        assert result["test"] is None
        scores[path.parent.name] = result["val"]["miou_present"]
    (best,) = re.findall(r"segrun eval checkpoint=outputs/search/(.+)/best\.ckpt", printed)
    assert len(scores) == 3 and scores[best] == max(scores.values())
    assert sorted(trial.value for trial in trials()) == sorted(scores.values())
    with pytest.raises(SystemExit) as ended:
        cli.main(["eval", f"checkpoint=outputs/search/{best}/best.ckpt"])
    assert not ended.value.code and "test" in read


@pytest.mark.slow
def test_a_search_that_was_interrupted_ends_as_one_that_was_not(elsewhere: Path) -> None:
    with stopped_after(3) as done:
        assert sweep(*SEARCH, RATE) == 130
        assert sweep(*SEARCH, RATE) == 0
        assert len(done) == 6
        assert sweep(*SEARCH, RATE) == 0
        assert len(done) == 6  # nothing is run again
    assert sweep(*SEARCH, RATE, "output=other") == 0
    assert [(t.params, t.value) for t in trials()] == [(t.params, t.value) for t in trials("other")]


@pytest.mark.slow
def test_a_failed_trial_counts_and_is_listed_and_run_again_on_request(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (*SEARCH, "schedule._target_=segrun.engine.schedules.Poly,nowhere.Poly")
    assert sweep(*line) == 1
    states = [trial.state.name for trial in trials()]
    assert len(states) == 3 and set(states) == {"COMPLETE", "FAIL"}
    assert sweep(*line) == 1 and len(trials()) == 3
    assert "failed: schedule._target_=nowhere.Poly: " in " ".join(capsys.readouterr().out.split())
    (elsewhere / "nowhere.py").write_text("from segrun.engine.schedules import Poly as Base\nclass Poly(Base): pass\n")
    assert sweep(*line, "retry=true") == 0
    assert len(trials()) == 4 and trials()[-1].state.name == "COMPLETE"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed=0,1", RATE), "a score on val cannot choose between these"),
        (("labels=5,10",), "a score on val cannot choose between these"),
        (("test=true", RATE), "a search does not read the test split"),
        (("seed=3",), "nothing to search"),
        (("hydra.sweeper.n_jobs=0", RATE), "hydra.sweeper.n_jobs=0: must be a whole number of at least 1"),
        (("hydra.sweeper.objective=test", RATE), "hydra.sweeper.objective=test: must be one of miou_present"),
    ],
)
def test_what_a_search_cannot_choose_is_refused_before_anything_is_run(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert sweep(*SEARCH, *words) == 2
    assert message in capsys.readouterr().err
    assert not (elsewhere / "outputs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("space", option_names("search"))
def test_every_space_is_searched(
    space: str, elsewhere: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "trainer.epochs=1", f"backbone.weights={pretrained}", f"search={space}"]
    with pytest.raises(SystemExit) as ended:  # without -m: the space asks for it
        cli.main(["train", *words, "hydra.sweeper.n_trials=2"])
    assert not ended.value.code, capsys.readouterr()
    assert [trial.state.name for trial in trials()] == ["COMPLETE"] * 2
    assert "best on val: " in capsys.readouterr().out
