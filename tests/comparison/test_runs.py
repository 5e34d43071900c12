"""What run folders hold: whole, half-written, of older versions, and what is no run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segrun.comparison import runs
from segrun.comparison.runs import Run, copy_of, found, read
from segrun.errors import DataError, RequestError
from tests.comparison.synthetic import CLASSES, Study, config, write

COUNTS = Study(4).counts()


def test_runs_are_found_in_folders_and_globs_each_once(elsewhere: Path) -> None:
    for place in ("a/one", "a/deep/two", "b [1]/three"):
        write(Path(place), COUNTS, config())
    patterns = ["a", "a/*", "b [1]", "b ?1?/three", str(elsewhere / "a" / "**" / "two")]
    assert [run.folder.name for run in found(patterns)] == ["two", "one", "three"]


def test_a_home_is_expanded(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(elsewhere))
    write(elsewhere / "runs" / "one", COUNTS, config())
    assert len(found(["~/runs"])) == 1


@pytest.mark.parametrize("pattern", ["nowhere", "a/*/x", "empty", "evaluated"])
def test_a_pattern_without_a_run_is_refused(pattern: str, elsewhere: Path) -> None:
    write(elsewhere / "a" / "one", COUNTS, config())
    (elsewhere / "empty").mkdir()
    (elsewhere / "evaluated").mkdir()
    (elsewhere / "evaluated" / "result.json").write_text('{"checkpoint": "best.ckpt", "split": "test", "test": {}}')
    with pytest.raises(RequestError, match=f"^runs={pattern.replace('*', '.')}: no run there"):
        found(["a", pattern])


def test_folders_of_eval_are_no_runs(elsewhere: Path) -> None:
    write(elsewhere / "train" / "one", COUNTS, config())
    (elsewhere / "eval").mkdir()
    (elsewhere / "eval" / "result.json").write_text('{"checkpoint": "best.ckpt", "split": "test", "test": {}}')
    assert [run.folder.name for run in found(["."])] == ["one"]


@pytest.mark.parametrize(
    "text", ['{"val": {"mi', "", "null", "[1]", "{}", '"checkpoint"', '{"val": {}, "cost": null}', "\udcff"]
)
def test_a_result_that_is_not_whole_counts_for_none(text: str, elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config("l2sp"))
    (folder / "result.json").write_bytes(text.encode(errors="surrogateescape"))
    run = read(folder)
    assert not run.result and run.error.startswith("result.json is not whole")
    assert run.settings["strategy"] == "l2sp"  # its config tells


def test_a_failed_run_says_why_and_an_ended_one_has_no_failure_left(elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config())
    (folder / "error.txt").write_text("out of memory\n")
    assert read(folder).error == ""
    (folder / "result.json").unlink()
    assert read(folder).error == "out of memory" and not read(folder).result
    (folder / "error.txt").unlink()
    assert found(["."]) == [
        Run(Path("one"), {}, runs.settings(config()), "0")
    ]  # interrupted: its config alone is there


def test_older_results_take_config_and_number_of_images_from_their_files(elsewhere: Path) -> None:
    new, old = (read(write(elsewhere / str(old), COUNTS, config("l2sp", 3, 20), old=old)) for old in (False, True))
    assert new.settings == old.settings and new.settings["optimizer.lr"] == "0.001"
    assert (new.seed, old.seed, new.count("train"), old.count("train")) == ("3", "3", 20, 20)
    (elsewhere / "True" / "split.json").unlink()
    with pytest.raises(DataError, match=r"split.json: does not tell the images of train .* Leave the run out"):
        read(elsewhere / "True").count("train")
    for text in ("", "a: [", "- 1", "other: yaml"):
        (elsewhere / "True" / "config.yaml").write_text(text)
        assert not read(elsewhere / "True").settings


def test_settings_are_what_changes_the_outcome() -> None:
    def settings(**changed: Any) -> Any:
        return runs.settings(config(**changed))

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
    assert runs.settings(one) == runs.settings(other)
    asked = config()
    asked["asked"].append("+dataset.intensity.scale=image")
    assert runs.settings(asked)["dataset.intensity.scale"] == "image"


def test_seeds_folds_and_drawn_splits_name_a_copy() -> None:
    def seed(**changed: Any) -> str:
        return copy_of(config(seed=2, **changed))

    assert seed() == "2" and seed(split__folds=5, split__fold=1) == "2, fold 1"
    assert seed(split__fold=1) == "2" and seed(split__seed=4) == "2, split 4"


@pytest.mark.parametrize(("value", "expected"), [(0.5, 0.5), (None, 0.0), (float("nan"), 0.0)])
def test_a_val_without_a_score_is_worth_nothing(value: float | None, expected: float) -> None:
    assert Run(Path(), json.loads(json.dumps({"val": {"miou": value}})), {}, "0").val == expected


def test_scores_are_read_as_they_were_counted_whatever_the_order_of_images(elsewhere: Path) -> None:
    names = ['a "b", c', "ü/1", "b", "a"]
    run = read(write(elsewhere / "one", COUNTS, config(), images=names))
    (images, classes), counts = run.scores()
    assert images == tuple(sorted(names)) and classes == CLASSES
    assert (counts == COUNTS[[names.index(name) for name in images]]).all() and counts.dtype == np.int64


@pytest.mark.parametrize("kept", [0, 19, 60, 150])
def test_scores_that_are_not_whole_are_refused(kept: int, elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config())
    path = folder / "scores.csv"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"scores.csv: is not whole .* Train the run anew, or leave it out"):
        read(folder).scores()
    path.unlink()
    with pytest.raises(DataError, match=r"scores.csv: is not whole"):
        read(folder).scores()


@pytest.mark.parametrize("old", [False, True])
def test_scores_that_end_with_a_line_or_image_too_early_are_refused(old: bool, elsewhere: Path) -> None:
    folder = write(elsewhere / "one", COUNTS, config(), old=old)
    path = folder / "scores.csv"
    lines = path.read_text().splitlines(keepends=True)
    for kept, says in ((lines[:7], "2 of 4 images"), (lines[:6], "reshape"), ([*lines[:-1], "x"], "line is cut")):
        path.write_text("".join(kept))
        with pytest.raises(DataError, match=rf"scores.csv: is not whole \(.*{says}"):
            read(folder).scores()
