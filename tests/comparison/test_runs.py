"""What run folders hold: whole, half-written, of older versions, and what is no run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segrun.comparison.runs import EvaluationSet, Run, find_runs, read_run
from segrun.config.recorded import RecordedConfig
from segrun.errors import DataError, RequestError
from tests.comparison.synthetic import CLASSES, Study, config, write

COUNTS = Study(4).counts()


def test_runs_are_found_in_folders_and_globs_each_once(elsewhere: Path) -> None:
    for place in ("a/one", "a/deep/two", "b [1]/three"):
        write(Path(place), COUNTS, config())
    patterns = ["a", "a/*", "b [1]", "b ?1?/three", str(elsewhere / "a" / "**" / "two")]
    assert [run.folder.name for run in find_runs(patterns)] == ["two", "one", "three"]


def test_a_home_is_expanded(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(elsewhere))
    write(elsewhere / "runs" / "one", COUNTS, config())
    assert len(find_runs(["~/runs"])) == 1


@pytest.mark.parametrize("pattern", ["nowhere", "a/*/x", "empty", "evaluated"])
def test_a_pattern_without_a_run_is_refused(pattern: str, elsewhere: Path) -> None:
    write(elsewhere / "a" / "one", COUNTS, config())
    (elsewhere / "empty").mkdir()
    (elsewhere / "evaluated").mkdir()
    (elsewhere / "evaluated" / "result.json").write_text('{"checkpoint": "best.ckpt", "split": "test", "test": {}}')
    with pytest.raises(RequestError, match=f"^runs={pattern.replace('*', '.')}: no run found"):
        find_runs(["a", pattern])


def test_folders_of_eval_are_no_runs(elsewhere: Path) -> None:
    write(elsewhere / "train" / "one", COUNTS, config())
    (elsewhere / "eval").mkdir()
    (elsewhere / "eval" / "result.json").write_text('{"checkpoint": "best.ckpt", "split": "test", "test": {}}')
    assert [run.folder.name for run in find_runs(["."])] == ["one"]


@pytest.mark.parametrize(
    "text", ['{"val": {"mi', "", "null", "[1]", "{}", '"checkpoint"', '{"val": {}, "cost": null}', "\udcff"]
)
def test_a_result_that_is_not_whole_counts_for_none(text: str, elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config("l2sp"))
    (folder / "result.json").write_bytes(text.encode(errors="surrogateescape"))
    run = read_run(folder)
    assert not run.result and run.error.startswith(f"{folder}/result.json: ")
    assert run.settings["strategy"] == "l2sp"  # its config tells


def test_a_failed_run_says_why_and_an_ended_one_has_no_failure_left(elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config())
    (folder / "error.txt").write_text("out of memory\n")
    assert read_run(folder).error == ""
    (folder / "result.json").unlink()
    assert read_run(folder).error == "out of memory" and not read_run(folder).result
    (folder / "error.txt").unlink()
    assert find_runs(["."]) == [
        Run(Path("one"), {}, RecordedConfig(config()).comparable(), "0")
    ]  # interrupted: its config alone is there


def test_older_results_take_config_and_number_of_images_from_their_files(elsewhere: Path) -> None:
    new, old = (read_run(write(elsewhere / str(old), COUNTS, config("l2sp", 3, 20), old=old)) for old in (False, True))
    assert new.settings == old.settings and new.settings["optimizer.lr"] == "0.001"
    assert (new.seed, old.seed, new.num_images("train"), old.num_images("train")) == ("3", "3", 20, 20)
    (elsewhere / "True" / "split.json").unlink()
    with pytest.raises(DataError, match=r"split.json: cannot be read .* Train the run again, or leave it out"):
        read_run(elsewhere / "True").num_images("train")
    for text in ("", "a: [", "- 1", "other: yaml"):
        (elsewhere / "True" / "config.yaml").write_text(text)
        assert not read_run(elsewhere / "True").settings


def test_old_names_of_groups_and_classes_are_translated(elsewhere: Path) -> None:
    old = config("l2sp", term={"l2sp": {"_target_": "segrun.transfer.terms.L2SP", "alpha": 0.1}})
    old["strategy"]["_target_"] = "segrun.transfer.strategies.Finetune"
    new = config("l2sp", regularizer={"l2sp": {"_target_": "segrun.transfer.regularizers.l2sp.L2SP", "alpha": 0.1}})
    new["strategy"]["_target_"] = "segrun.transfer.strategies.finetune.Finetune"
    settings = [read_run(write(elsewhere / str(old is values), COUNTS, values)).settings for values in (old, new)]
    assert settings[0] == settings[1] and settings[0]["regularizer"] == "l2sp"


def test_settings_are_what_changes_the_outcome() -> None:
    def settings(**changed: Any) -> Any:
        return RecordedConfig(config(**changed)).comparable()

    same = settings()
    for copied in ("seed", "output", "trainer__device", "split__fold", "split__seed", "dataset__root", "names__rules",
                   "names__hydra", "names__tracker", "names__search", "names__experiment", "test"):  # fmt: skip
        assert settings(**{copied: 7}) == same, copied
    for telling in (
        "labels",
        "names__strategy",
        "strategy__backbone_lr",
        "trainer__steps",
        "optimizer__new",
        "init_from",
        "names__head",
    ):
        assert settings(**{telling: 7}) != same, telling
    assert settings(regularizer={"l2sp": {"alpha": 1}, "bss": {"k": 1}})["regularizer"] == "l2sp+bss"
    assert settings(regularizer=None).get("regularizer", "none") == same.get("regularizer", "none") == "none"


def test_an_intensity_counts_as_it_was_asked_for() -> None:
    """What a run measures on its training images is in its config, too, and is its own."""
    one, other = (config(dataset__intensity={"scale": "fixed", "low": [low]}) for low in (1, 2))
    assert RecordedConfig(one).comparable() == RecordedConfig(other).comparable()
    asked = config()
    asked["asked"].append("+dataset.intensity.scale=image")
    assert RecordedConfig(asked).comparable()["dataset.intensity.scale"] == "image"


def test_seeds_folds_and_drawn_splits_name_a_copy() -> None:
    def seed(**changed: Any) -> str:
        return RecordedConfig(config(seed=2, **changed)).replicate()

    assert seed() == "2" and seed(split__folds=5, split__fold=1) == "2, fold 1"
    assert seed(split__fold=1) == "2" and seed(split__seed=4) == "2, split 4"


@pytest.mark.parametrize(("value", "expected"), [(0.5, 0.5), (None, 0.0), (float("nan"), 0.0)])
def test_a_val_without_a_score_is_worth_nothing(value: float | None, expected: float) -> None:
    assert Run(Path(), json.loads(json.dumps({"val": {"miou": value}})), {}, "0").val_miou == expected


def test_scores_are_read_as_they_were_counted_whatever_the_order_of_images(elsewhere: Path) -> None:
    names = ['a "b", c', "ü/1", "b", "a"]
    run = read_run(write(elsewhere / "one", COUNTS, config(), images=names))
    test_set, counts = run.read_scores()
    assert test_set == EvaluationSet(tuple(sorted(names)), CLASSES)
    assert (counts == COUNTS[[names.index(name) for name in test_set.images]]).all() and counts.dtype == np.int64


@pytest.mark.parametrize("kept", [0, 19, 60, 150])
def test_scores_that_are_not_whole_are_refused(kept: int, elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config())
    path = folder / "scores.csv"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"scores.csv: is incomplete .* Train the run again, or leave it out"):
        read_run(folder).read_scores()
    path.unlink()
    with pytest.raises(DataError, match=r"scores.csv: is incomplete"):
        read_run(folder).read_scores()


@pytest.mark.parametrize("old", [False, True])
def test_scores_that_end_with_a_line_or_image_too_early_are_refused(old: bool, elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config(), old=old)
    path = folder / "scores.csv"
    lines = path.read_text().splitlines(keepends=True)
    cut_off = [*lines[:-1], "x"]
    for kept, says in ((lines[:7], "2 of 4 images"), (lines[:6], "a line per class"), (cut_off, "line is cut off")):
        path.write_text("".join(kept))
        with pytest.raises(DataError, match=rf"scores.csv: is incomplete \(.*{says}"):
            read_run(folder).read_scores()
