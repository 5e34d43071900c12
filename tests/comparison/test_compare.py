"""Comparisons of whole folders: what is found, what is said to be absent, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segrun.comparison.bootstrap import bootstrap_images
from segrun.comparison.compare import compare
from segrun.comparison.comparison import Comparison
from segrun.comparison.runs import find_runs
from segrun.comparison.significance import difference, holm_correction
from segrun.errors import RequestError
from segrun.report.comparison import all_sentences, failure_lines
from tests.comparison.synthetic import CLASSES, Study, config, study, write


def compared(*patterns: str, draws: int = 200, **asked: Any) -> Comparison:
    return compare(find_runs(patterns or ["."]), num_draws=draws, **asked)


def test_a_strategy_that_is_better_is_found(elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0, "l2sp": 0.5, "scratch": -0.5, "lora": 0.0})
    c = compared()
    assert (c.by, c.compared_key, c.baseline, c.split) == (("strategy",), "strategy", "finetune", "test")
    rows = {row.key[0]: row for row in c.results}
    assert {name: row.rank for name, row in rows.items()} | {"finetune": 0, "lora": 0} == {
        "l2sp": 1, "scratch": 4, "finetune": 0, "lora": 0,
    }  # fmt: skip
    assert (rows["l2sp"].wins, rows["finetune"].difference) == (3, None)
    assert rows["l2sp"].corrected_p < 0.05 > rows["scratch"].corrected_p and rows["lora"].corrected_p > 0.05
    lines = all_sentences(c)
    assert lines[0].startswith("l2sp has the highest mean of 4: ")
    assert [line.split(" by ")[0] for line in lines[1:3]] == [
        "l2sp is better than finetune",
        "scratch is worse than finetune",
    ]
    for name, line in zip(("l2sp", "scratch"), lines[1:3], strict=True):  # the interval has the sign of the words
        gap = rows[name].difference
        assert gap is not None
        low, high = sorted(100 * abs(end) for end in (gap.low, gap.high))
        assert f" by {100 * abs(gap.mean):.1f} points ({low:.1f} to {high:.1f}), p " in line
    assert lines[3].startswith("In 1 of 3 comparisons no difference from finetune is significant")


def test_all_numbers_are_those_of_the_parts(elsewhere: Path) -> None:
    made = Study(8)
    cells = {name: made.runs(3, effect) for name, effect in (("finetune", 0.0), ("l2sp", 0.1), ("scratch", -0.3))}
    for name, runs in cells.items():
        for seed, counts in runs.items():
            write(elsewhere / f"{name}{seed}", counts, config(name, int(seed)), seconds=10.0 * (1 + int(seed)))
    c = compared()
    samples = {name: bootstrap_images(runs, 200) for name, runs in cells.items()}
    gaps = [difference(samples[name], samples["finetune"]) for name in ("l2sp", "scratch")]
    assert [row.difference for row in c.results] == [None, *gaps]
    assert [row.corrected_p for row in c.results][1:] == holm_correction([gap.p_value for gap in gaps])
    row = next(row for row in c.results if row.key == ("scratch",))
    hit, false, missed = np.moveaxis(np.stack([*cells["scratch"].values()]).sum(1), -1, 0)
    np.testing.assert_allclose(row.class_ious, (hit / (hit + false + missed)).mean(0))
    assert row.cost["seconds"] == 20 and row.cost["parameters_trained"] == 1000


def test_labels_make_blocks_curves_and_sentences(elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0, "l2sp": 0.2}, labels=(5, 10, 20, 40))
    c = compared()
    assert c.by == ("strategy", "labels") and list(c.blocks) == [("5",), ("10",), ("20",), ("40",)]
    assert {key: sorted(curve) for key, curve in c.learning_curves.items()} == {
        ("finetune",): [5, 10, 20, 40], ("l2sp",): [5, 10, 20, 40],
    }  # fmt: skip
    same = {each.labels: each.equivalent for each in c.label_equivalents}
    assert same[5] == pytest.approx(10, rel=0.15) and same[10] == pytest.approx(20, rel=0.15) and same[40] == np.inf
    assert all_sentences(c)[-1] == "l2sp with 40 labels scores above finetune with 40, the most measured"
    assert compared(by=["labels", "strategy"]).compared_key == "strategy"
    other = compared(baseline="40")
    assert (other.compared_key, other.label_equivalents) == ("labels", []) and list(other.blocks) == [
        ("finetune",),
        ("l2sp",),
    ]


def test_what_labels_are_worth_is_not_told_without_the_budgets(elsewhere: Path) -> None:
    made = Study(6)
    for strategy in ("finetune", "l2sp"):
        for labels in (5, 20):
            values = config(strategy, 0, labels, trainer__steps=None)
            write(elsewhere / f"{strategy}{labels}", made.counts(0.1 * labels), values)
    c = compared()
    assert c.label_equivalents and [note[:39] for note in c.notes] == ["label counts have different budgets (wi"]
    study(elsewhere / "equal", {"finetune": 0.0, "l2sp": 0.2}, labels=(5, 20), seeds=1)
    assert compared("equal").label_equivalents and not compared("equal").notes


def test_without_finetune_the_first_is_the_baseline(elsewhere: Path) -> None:
    study(elsewhere, {"scratch": 0.0, "l2sp": 0.1}, seeds=2)
    assert compared().baseline == "l2sp" and compared(baseline="scratch").baseline == "scratch"


def test_val_chooses_and_the_rest_is_not_compared(elsewhere: Path) -> None:
    made = Study(6)
    for strategy in ("finetune", "l2sp"):
        for lr, val in ((0.1, 0.9), (0.2, 0.3)):
            for seed, counts in made.runs(2).items():
                write(
                    elsewhere / f"{strategy}{lr}{seed}", counts, config(strategy, int(seed), optimizer__lr=lr), val=val
                )
    c = compared(choose=["optimizer.lr"])
    assert c.by == ("strategy",) and {
        run.settings["optimizer.lr"] for r in c.results for run in r.cell.runs.values()
    } == {"0.1"}
    assert [note.split(",")[0] for note in c.notes] == ["finetune: optimizer.lr=0.1", "l2sp: optimizer.lr=0.1"]
    assert compared().by == ("strategy", "optimizer.lr")


def test_failed_broken_and_missing_runs_are_told(elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0, "l2sp": 0.1}, labels=(5, 20))
    (elsewhere / "folder_l2sp_5_seed0" / "scores.csv").write_text("image,class,tp,fp,fn\np0,ground,1")
    (elsewhere / "folder_l2sp_5_seed1" / "result.json").write_text('{"val"')
    (elsewhere / "folder_l2sp_5_seed2" / "result.json").unlink()
    (elsewhere / "folder_l2sp_5_seed2" / "error.txt").write_text("RuntimeError: out of memory")
    (elsewhere / "folder_finetune_20_seed1").rename(elsewhere.parent / f"{elsewhere.name}_gone")
    lost = elsewhere / "nameless"
    lost.mkdir()
    (lost / "error.txt").write_text("no config")
    c = compared()
    rows = {row.key: row for row in c.results}
    broken = rows["l2sp", "5"]
    assert broken.score is None and broken.difference is None and len(broken.cell.failed) == 3
    lines = failure_lines(c)
    assert [line.rpartition(" (")[0] for line in lines[:3]] != [] and len(lines) == 4
    assert any("out of memory" in line for line in lines)
    assert any("seed1/result.json: cannot be read as JSON" in line for line in lines)
    assert any("scores.csv: is incomplete" in line for line in lines)
    assert lines[-1] == "missing: finetune, 20 labels, seed 1"
    assert c.notes == ("left out, because it has no config: nameless (no config)",)


def test_a_cell_that_was_never_begun_is_missing(elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0, "l2sp": 0.1}, labels=(5, 20), seeds=2)
    for seed in (0, 1):
        (elsewhere / f"folder_finetune_20_seed{seed}" / "result.json").unlink()
        (elsewhere / f"folder_finetune_20_seed{seed}" / "config.yaml").unlink()
    c = compared()
    assert failure_lines(c) == ["missing: finetune, 20 labels, seed 0", "missing: finetune, 20 labels, seed 1"]
    assert next(row for row in c.results if row.key == ("l2sp", "20")).difference is None


def test_one_seed_is_said_to_be_one(elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0, "l2sp": 0.5}, seeds=1)
    assert all_sentences(compared())[1:] == ["Only one seed, so no interval and no test: finetune, l2sp."]


def test_runs_of_an_older_version_are_compared_with_newer_ones(elsewhere: Path) -> None:
    made = Study(6)
    for strategy, old in (("finetune", True), ("l2sp", False)):
        for seed, counts in made.runs(2).items():
            write(elsewhere / f"{strategy}{seed}", counts, config(strategy, int(seed)), old=old)
    assert [len(row.cell.runs) for row in compared().results] == [2, 2]


def test_a_run_without_scores_on_val_is_compared(elsewhere: Path) -> None:
    counts = Study(6).counts()
    write(elsewhere / "one", counts, config(), val=None)
    write(elsewhere / "two", counts, config("l2sp"), val=float("nan"))
    result = json.loads((elsewhere / "one" / "result.json").read_text())
    assert {row.score and round(row.score.mean, 9) for row in compared().results} == {round(result["test"]["miou"], 9)}


def test_runs_scored_on_val_are_said_to_be(elsewhere: Path) -> None:
    for strategy in ("finetune", "l2sp"):
        write(elsewhere / "search" / strategy, Study(6).counts(), config(strategy), test=False)
    c = compared()
    assert c.split == "val" and all_sentences(c)[-1].startswith(
        "All runs are scored on val, which also chose their epochs"
    )


def test_trials_of_a_search_are_not_put_beside_runs(elsewhere: Path) -> None:
    """Not even if all else agrees: the same images, settings and seed."""
    write(elsewhere / "search" / "one", Study(6).counts(), config(), test=False)
    write(elsewhere / "run", Study(6).counts(), config(), images=[f"val/p{n:03}" for n in range(6)])
    with pytest.raises(RequestError, match=r"^search/one was scored only on val.* and run on test. Name runs of one"):
        compared()


@pytest.mark.parametrize("changed", ["images", "classes", "order", "truth", "budget", "more"])
def test_what_is_not_comparable_is_refused_with_both_folders(changed: str, elsewhere: Path) -> None:
    counts, values = Study(6).counts(), config("l2sp", trainer__steps=999 if changed == "budget" else 100)
    one = write(Path("one"), counts, config())
    other = {
        "images": {"images": [f"other{n}" for n in range(6)]}, "classes": {"classes": (*CLASSES[:2], "new")},
        "order": {"classes": CLASSES[::-1]},
    }.get(changed, {})  # fmt: skip
    if changed == "truth":
        counts = counts.copy()
        counts[3, 1, 2] += 1
    two = write(Path("two"), counts[:-1] if changed == "more" else counts, values, **other)  # type: ignore[arg-type]
    says = {
        "images": r"different images \(other0, other1, other2 and 9 more\)",
        "classes": r"different classes \(edge_1, new\)",
        "order": r"different classes \(the same in another order\)", "truth": "different masks of test/p003",
        "budget": "different budgets: 100 steps × 4 × 1 and 999 steps × 4 × 1",
        "more": r"different images \(test/p005\)",
    }[changed]  # fmt: skip
    with pytest.raises(RequestError, match=says) as error:
        compared()
    assert str(one) in str(error.value) and str(two) in str(error.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"baseline": "nothing"}, "^baseline=nothing: must be one of the compared values: finetune, l2sp.$"),
        ({"by": ["stratgy"]}, "^by=stratgy: no run has this setting. Did you mean strategy"),
        ({"choose": ["seed"]}, "^choose=seed: no run has this setting."),
        ({"by": ["strategy"], "choose": ["strategy"]}, "^strategy is in both by and choose"),
    ],
)
def test_wrong_words_are_refused(asked: dict[str, Any], says: str, elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0, "l2sp": 0.1}, seeds=1)
    with pytest.raises(RequestError, match=says):
        compared(**asked)


def test_runs_of_which_none_has_ended_are_refused(elsewhere: Path) -> None:
    study(elsewhere, {"finetune": 0.0}, seeds=2)
    for path in elsewhere.glob("*/result.json"):
        path.unlink()
    with pytest.raises(RequestError, match="none of the runs has finished"):
        compared()
    for path in elsewhere.glob("*/config.yaml"):
        path.rename(path.with_name("error.txt"))
    with pytest.raises(RequestError, match="none of the runs has finished"):
        compared()


def test_runs_that_do_not_tell_what_they_are_cannot_be_compared(elsewhere: Path) -> None:
    write(elsewhere / "one", Study(4).counts(), config(), old=True)
    (elsewhere / "one" / "config.yaml").unlink()
    with pytest.raises(
        RequestError, match=r"^none of the finished runs has a config: one has no config.yaml\. Name other runs"
    ):
        compared()


def test_test_images_without_any_label_are_refused(elsewhere: Path) -> None:
    write(elsewhere / "one", np.zeros((4, 3, 3), np.int64), config())
    with pytest.raises(RequestError, match=r"one: none of its test images has a labelled pixel"):
        compared()
