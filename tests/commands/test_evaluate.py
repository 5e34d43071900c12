"""`segrun eval`: the stored split, other data, two processes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segrun
from segrun.checkpoints import checkpoint
from segrun.commands import evaluate
from segrun.config.compose import compose
from segrun.errors import RequestError
from tests.conftest import QUICK


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [w for w in QUICK if not w.startswith(("dataset.test", "trainer.epochs"))]
    output = tmp_path_factory.mktemp("trained")
    return segrun.train([*words, "strategy=scratch", "dataset.test=33", "trainer.epochs=1", f"output={output}"]).folder


def test_eval_repeats_what_training_measured(trained: Path) -> None:
    kept = json.loads((trained / "result.json").read_text())
    for batch in (1, 5):
        result = evaluate.run(compose("eval", [f"checkpoint={trained}", f"batch_size={batch}", "device=cpu"]))
        assert result.scores["confusion"] == kept["test"]["confusion"]
        assert (result.folder / "scores.csv").read_bytes() == (trained / "scores.csv").read_bytes()
        assert (result.folder / "confusion.png").is_file()


def test_scores_are_counts_that_add_up_to_the_result(trained: Path) -> None:
    with (trained / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 33 * 6
    kept = json.loads((trained / "result.json").read_text())["test"]["per_class"]
    for name, scores in kept.items():
        tp, fp, fn = (sum(int(row[key]) for row in rows if row["class"] == name) for key in ("tp", "fp", "fn"))
        assert scores["iou"] == (pytest.approx(tp / (tp + fp + fn), abs=1e-6) if tp + fp + fn else None)


@pytest.mark.slow
def test_two_processes_give_the_same_figures_as_one(trained: Path, elsewhere: Path) -> None:
    words = ["-m", "segrun", "eval", f"checkpoint={trained}", "device=cpu", f"output={elsewhere / 'two'}"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    done = subprocess.run([*launch, *words], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result = next((elsewhere / "two").rglob("scores.csv"))
    assert result.read_bytes() == (trained / "scores.csv").read_bytes()
    assert done.stdout.count("result folder") == 1


def test_other_data_with_the_same_classes_is_scored(trained: Path) -> None:
    result = evaluate.run(
        compose("eval", [f"checkpoint={trained}", "dataset=shapes", "dataset.seed=9", "dataset.test=3"])
    )
    assert sum(map(sum, result.scores["confusion"])) == 3 * 128 * 128


def test_data_with_other_classes_is_refused_with_the_difference(
    trained: Path, folder_data: Callable[..., Path]
) -> None:
    words = [f"checkpoint={trained}", "dataset=folder", f"dataset.root={folder_data()}"]
    with pytest.raises(RequestError, match=r"6 classes, the data set 2.*lacks stripes.*lacks square"):
        evaluate.run(compose("eval", [*words, "dataset.classes=[background,square]"]))


def test_a_folder_that_only_holds_test_images_is_scored_but_not_trained_on(
    trained: Path, folder_data: Callable[..., Path]
) -> None:
    root = folder_data(2, root="only/test").parent
    (root / "classes.txt").write_text("\n".join(checkpoint.read(trained / "best.ckpt").classes.names))
    words = ["dataset=folder", f"dataset.root={root}"]
    result = evaluate.run(compose("eval", [f"checkpoint={trained}", *words]))
    assert sum(map(sum, result.scores["confusion"])) == 2 * 48 * 64
    with pytest.raises(RequestError, match="has no train images, only those of test"):
        segrun.train([w for w in QUICK if not w.startswith("dataset.")] + words)


def test_a_data_set_without_splits_is_scored_as_a_whole_and_that_is_said(
    trained: Path, folder_data: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_data(3)
    (root / "classes.txt").write_text("\n".join(checkpoint.read(trained / "best.ckpt").classes.names))
    words = [f"checkpoint={trained}", "dataset=folder", f"dataset.root={root}", "split=test"]
    result = evaluate.run(compose("eval", words))
    assert sum(map(sum, result.scores["confusion"])) == 3 * 48 * 64
    assert "data: it has no splits, so that all 3 images are scored\n" in capsys.readouterr().out
    assert json.loads((result.folder / "result.json").read_text())["split"] == "all"


def test_a_grey_model_is_scored_on_grey_images_at_its_stored_split(folder_data: Callable[..., Path]) -> None:
    root = folder_data(10)
    words = [w for w in QUICK if not w.startswith("dataset.")]
    data = ["dataset=folder", f"dataset.root={root}", "dataset.classes=[background,square]"]
    made = segrun.train([*words, *data, "dataset.channels=1", "strategy=scratch", "trainer.epochs=1"])
    result = evaluate.run(compose("eval", [f"checkpoint={made.folder}", *data]))
    assert made.test is not None and result.scores["confusion"] == made.test["confusion"]
    with pytest.raises(RequestError, match="images of 1 channels, those of the data set have 3"):
        evaluate.run(compose("eval", [f"checkpoint={made.folder}", "dataset=shapes"]))


def test_a_stored_split_that_is_gone_is_told(folder_data: Callable[..., Path]) -> None:
    root = folder_data(10)
    words = [w for w in QUICK if not w.startswith("dataset.")]
    data = ["dataset=folder", f"dataset.root={root}", "dataset.classes=[background,square]"]
    folder = segrun.train([*words, *data, "strategy=scratch", "trainer.epochs=1"]).folder
    split = json.loads((folder / "split.json").read_text())
    extra = np.zeros((48, 64), np.uint8)
    for place in ("images", "masks"):  # a new image changes what the fractions draw, but not the stored split
        Image.fromarray(extra).save(root / place / "new.png")
    result = evaluate.run(compose("eval", [f"checkpoint={folder}"]))
    with (result.folder / "scores.csv").open() as file:
        assert {row["image"] for row in csv.DictReader(file)} == set(split["test"])
    for place in ("images", "masks"):
        (root / place / f"{split['test'][0]}.png").unlink()
    with pytest.raises(RequestError, match=f"stored split are not in this data set: {split['test'][0]}"):
        evaluate.run(compose("eval", [f"checkpoint={folder}"]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("split=all", "this data set has"),
        ("checkpoint=nowhere.ckpt", "no such checkpoint"),
        ("tile=8", "^tile=8: must be a whole number"),
    ],
)
def test_a_wrong_request_is_told(trained: Path, word: str, message: str) -> None:
    words = [f"checkpoint={trained}", word] if not word.startswith("checkpoint") else [word]
    with pytest.raises(RequestError, match=message):
        evaluate.run(compose("eval", words))
