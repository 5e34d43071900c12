"""Raw values are scaled with the training images' numbers, in every command that uses the model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import segrun
from segrun.checkpoints import checkpoint
from segrun.commands import evaluate, predict
from segrun.config.compose import compose
from segrun.data.read.intensity import IntensitySettings
from segrun.data.sets.microscopy import Microscopy
from segrun.errors import Interrupted, RequestError
from segrun.experiment.evaluation_data import EvaluationData, evaluation_data
from segrun.inference.inference import Inference
from tests.conftest import QUICK, stopped_after

QUICK_RAW = [
    *(word for word in QUICK if not word.startswith("dataset.")),
    "strategy=scratch",
    "dataset=microscopy",
    "dataset.classes=[ground,cell]",
    "dataset.intensity.low=1",
    "dataset.intensity.high=99",
]


def cells(root: str = "cells", count: int = 10) -> Path:
    """16-bit images, a bright square on a dark ground, brighter from one to the next: 900 to 3600 in all."""
    base = Path(root)
    for place in ("images", "masks"):
        (base / place).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        image = rng.normal(900 + 100 * index, 30, (32, 40))
        mask = np.zeros((32, 40), np.uint8)
        top, left = rng.integers(0, 16, 2)
        mask[top : top + 14, left : left + 14] = 1
        Image.fromarray((image + 1800.0 * mask).astype(np.uint16)).save(base / "images" / f"p{index}.png")
        Image.fromarray(mask).save(base / "masks" / f"p{index}.png")
    return base


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What trains on such images; they stay at one place."""
    return [*QUICK_RAW, f"dataset.root={cells(str(tmp_path_factory.mktemp('data') / 'cells'))}"]


@pytest.fixture(scope="module")
def trained(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return segrun.train([*words, f"output={tmp_path_factory.mktemp('trained')}"]).folder


def scaling(folder: Path) -> dict[str, Any]:
    kept = checkpoint.read(folder).config["dataset"]["intensity"]
    assert isinstance(kept, dict)
    return kept


def expected(path: Path, low: float, high: float) -> np.ndarray[Any, Any]:
    return np.clip((np.asarray(Image.open(path)).astype(np.float64) - low) / (high - low), 0, 1)


def data_for(folder: Path, *words: str, **changed: Any) -> EvaluationData:
    """What eval scores."""
    config = compose("eval", [f"checkpoint={folder}", *words])
    return evaluation_data(config, dataclasses.replace(checkpoint.read(folder), **changed), ())


def test_the_run_keeps_the_percentiles_of_its_training_images(trained: Path) -> None:
    root = Path(checkpoint.read(trained).config["dataset"]["root"])
    names = json.loads((trained / "split.json").read_text())["train"]
    images = np.stack([np.asarray(Image.open(root / "images" / f"{name}.png")) for name in names]).astype(np.float64)
    low, high = np.percentile(images, (1, 99))
    assert scaling(trained) == {"scale": "fixed", "low": [low], "high": [high]}
    config = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
    assert config["dataset"]["intensity"] == scaling(trained)


def test_eval_repeats_what_training_measured(trained: Path) -> None:
    result = evaluate.run(compose("eval", [f"checkpoint={trained}", "device=cpu"]))
    assert (result.folder / "scores.csv").read_bytes() == (trained / "scores.csv").read_bytes()
    data, ends = data_for(trained), scaling(trained)
    assert isinstance(data.dataset, Microscopy)
    for name in data.splits["test"]:
        wanted = expected(data.dataset.pairs[name][0], ends["low"][0], ends["high"][0])
        np.testing.assert_allclose(data.dataset.image(name)[0], wanted, atol=1e-6)


def test_data_at_another_place_is_scaled_as_in_training_unless_the_user_says_how(trained: Path) -> None:
    root, ends = cells("moved"), scaling(trained)
    words = ["dataset=microscopy", f"dataset.root={root}", "dataset.classes=[ground,cell]"]
    data, picture = data_for(trained, *words), root / "images" / "p3.png"
    assert list(data.splits["test"]) == checkpoint.read(trained).splits["test"]
    np.testing.assert_allclose(
        data.dataset.image("p3")[0], expected(picture, ends["low"][0], ends["high"][0]), atol=1e-6
    )
    own = ["dataset.intensity.scale=fixed", "dataset.intensity.low=0", "dataset.intensity.high=60000"]
    dataset = data_for(trained, *words, *own).dataset
    np.testing.assert_allclose(dataset.image("p3")[0], expected(picture, 0, 60000), atol=1e-6)


def test_eval_refuses_data_that_cannot_be_scaled_as_in_training(trained: Path) -> None:
    words = [f"dataset.root={cells()}", "dataset.classes=[ground,cell]"]
    with pytest.raises(RequestError, match="this data set has no intensity"):
        data_for(trained, "dataset=folder", *words)
    config = checkpoint.read(trained).config
    plain = {**config, "dataset": {key: value for key, value in config["dataset"].items() if key != "intensity"}}
    with pytest.raises(RequestError, match=r"dataset\.intensity\.scale=dataset: is measured on training images"):
        data_for(trained, "dataset=microscopy", *words, config=plain)


def test_a_resumed_run_goes_on_with_the_numbers_that_it_said_when_it_began(
    words: list[str], trained: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stopped_after(2), pytest.raises(Interrupted):
        segrun.train([*words, "output=parts"])
    low, high = scaling(trained)["low"][0], scaling(trained)["high"][0]
    line = f"data: intensity: percentiles 1 and 99 of the training images: {low:.6g}…{high:.6g}"
    assert line in " ".join(capsys.readouterr().out.split())
    folder = next((elsewhere / "parts" / "train").glob("*/*"))
    segrun.train([f"resume={folder}"])
    assert "percentiles" not in capsys.readouterr().out  # nothing is measured again
    assert scaling(folder) == scaling(trained)
    ours, theirs = (torch.load(run / "last.ckpt", weights_only=True)["weights"] for run in (folder, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def network_inputs(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The images that reach the network's door."""
    images_seen: list[torch.Tensor] = []
    logits = Inference.logits

    def spy(self: Inference, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        images_seen.extend(images)
        return logits(self, images, *rest)

    monkeypatch.setattr(Inference, "logits", spy)
    return images_seen


def test_predict_reads_and_scales_as_the_training_did(trained: Path, network_inputs: list[torch.Tensor]) -> None:
    root = cells("new", count=3)
    predict.run(compose("predict", [f"checkpoint={trained}", f"input={root / 'images'}", "output=out", "device=cpu"]))
    data = Microscopy(str(root), ["ground", "cell"], "auto", 255, False, 1, IntensitySettings(**scaling(trained)))
    assert [torch.equal(image, data.image(name)) for image, name in zip(network_inputs, data.names, strict=True)] == [
        True
    ] * 3
    network_inputs.clear()
    model = segrun.load(trained, device="cpu")
    with Image.open(root / "images" / "p2.png") as picture:
        values = np.asarray(picture)
        for image in (picture, values, values[..., None].astype(np.float32)):
            assert model(image).shape == (32, 40)
    assert [torch.equal(image, data.image("p2")) for image in network_inputs] == [True] * 3
    with pytest.raises(RequestError, match=r"shape \(H, W\) or \(H, W, 1\), not \(32, 40, 2\)"):
        model(np.stack([values, values], axis=2))


def test_predict_reads_scientific_tiff(trained: Path, network_inputs: list[torch.Tensor]) -> None:
    tifffile = pytest.importorskip("tifffile")
    picture, ends = cells("new", count=1) / "images" / "p0.png", scaling(trained)
    values = np.asarray(Image.open(picture))
    Path("tiff").mkdir()
    tifffile.imwrite("tiff/p0.tif", values.astype(np.float32))
    tifffile.imwrite("tiff/stack.tif", np.stack([values] * 3), imagej=True, metadata={"axes": "ZYX"})
    done = predict.run(compose("predict", [f"checkpoint={trained}", "input=tiff", "output=out", "device=cpu"]))
    assert done.written == 1
    assert "stack.tif: holds uint16 values along ZYX" in done.failed[0]
    np.testing.assert_allclose(network_inputs[0][0], expected(picture, ends["low"][0], ends["high"][0]), atol=1e-6)
