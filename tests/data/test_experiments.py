"""The shipped experiments ask for what they are described to, and parts without a defect are no mistake."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import segrun
from segrun.config.build import build
from segrun.config.compose import compose
from segrun.config.options import option_names
from segrun.data.scan.scan import scan_dataset
from segrun.data.sets.folder import Folder
from segrun.data.split.label_subset import label_subset
from segrun.experiment.experiment import Experiment
from segrun.experiment.plan import make_plan
from segrun.experiment.training_model import planned_model
from segrun.tasks.auxiliary.presence import Presence
from segrun.types import ClassMap

CASES = ("medical", "driving_cityscapes", "driving_voc", "remote_sensing", "industrial", "portrait")
# a network of seconds in place of the experiment's
SMALL = [
    "strategy=scratch", "backbone=mobilenet_v2", "head=fcn", "head.channels=16", "sizing.size=[32,32]",
    "trainer.epochs=1", "trainer.batch_size=4", "trainer.device=cpu", "trainer.precision=fp32", "schedule.warmup=0",
]  # fmt: skip


@functools.cache
def composed(name: str, *words: str) -> dict[str, Any]:
    return compose("train", [f"experiment={name}", "dataset.root=data", *words])


def chosen(name: str, *groups: str) -> tuple[str, ...]:
    return tuple(composed(name)["names"][group] for group in groups)


def test_medical_is_resnet50_features_three_classes_adam_and_fifty_epochs() -> None:
    values = composed("medical")
    assert chosen("medical", "dataset", "backbone", "strategy", "freeze", "optimizer") == (
        "nifti", "resnet50", "feature_extraction", "backbone", "adam",
    )  # fmt: skip
    assert values["optimizer"]["lr"] == 1e-3
    assert (values["trainer"]["batch_size"], values["trainer"]["epochs"]) == (8, 50)
    assert values["dataset"]["classes"] == ["background", "organ", "lesion"]


def test_medical_takes_other_data_other_classes_and_another_strategy() -> None:
    values = composed("medical", "dataset=folder", "dataset.classes=[no,yes]", "strategy=finetune")
    assert values["dataset"]["_target_"] == "segrun.data.sets.folder.Folder"
    assert values["dataset"]["classes"] == ["no", "yes"]
    assert (values["names"]["strategy"], values["names"]["freeze"]) == ("finetune", "none")


def test_driving_is_deeplabv3plus_by_sgd_with_a_polynomial_rate() -> None:
    for name, dataset, size in (("driving_cityscapes", "cityscapes", [512, 1024]), ("driving_voc", "voc", [512, 512])):
        assert chosen(name, "dataset", "backbone", "head", "optimizer", "schedule", "sizing") == (
            dataset, "resnet50", "deeplabv3plus", "sgd", "poly", "crop",
        )  # fmt: skip
        assert composed(name)["sizing"]["size"] == size
        assert composed(name)["optimizer"]["lr"] == 0.01 and composed(name)["schedule"]["power"] == 0.9


def test_remote_sensing_turns_tiles_any_way_and_industrial_parts_too() -> None:
    assert chosen("remote_sensing", "dataset", "head", "sizing") == ("geotiff", "unet", "keep")
    assert composed("remote_sensing")["dataset"]["tile"] == 512
    assert chosen("industrial", "dataset", "loss") == ("folder", "focal_tversky")
    assert [loss["_target_"].rpartition(".")[2] for loss in composed("industrial")["loss"]["losses"]] == [
        "Focal",
        "Tversky",
    ]
    for name in ("remote_sensing", "industrial"):
        augment = composed(name)["augment"]
        assert augment["rotate90"] and augment["hflip"] == augment["vflip"] == 0.5


def test_portrait_is_light_and_keeps_people_upright() -> None:
    assert chosen("portrait", "dataset", "backbone", "head") == ("alpha", "mobilenet_v3_large", "unet_light")
    augment = composed("portrait")["augment"]
    assert augment["hflip"] == 0.5 and augment["vflip"] == 0 and not augment["rotate90"]


@pytest.mark.parametrize("name", CASES)
def test_its_network_is_made_and_its_plan_holds(name: str) -> None:
    values = composed(name, *(["strategy=finetune"] if name == "medical" else []))
    experiment = Experiment.from_config(values)
    model, _ = planned_model(experiment, ClassMap.of(["background", "object"]), 3, {})
    plan = make_plan(experiment, model)
    assert sum(phase.epochs for phase in plan.phases) == values["trainer"]["epochs"]
    if name == "portrait":
        assert sum(p.numel() for p in model.parameters()) < 6e6


def parts(root: str = "parts", good: int = 6, bad: int = 6) -> Path:
    """Pictures of 32×32; the masks of the good ones are all zero, the others show a scratch of 255."""
    rng = np.random.default_rng(0)
    for index in range(good + bad):
        image = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)
        mask = np.zeros((32, 32), np.uint8)
        if index >= good:
            image[8:14, 4:28] += 150
            mask[8:14, 4:28] = 255
        for folder, pixels in (("images", image), ("masks", mask)):
            (Path(root) / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(Path(root) / folder / f"{index:02}.png")
    return Path(root)


def test_parts_without_a_defect_train_and_are_scored() -> None:
    parts()
    result = segrun.train(["experiment=industrial", "dataset.root=parts", "auxiliary=[presence]", *SMALL])
    assert all(np.isfinite(result.val[key]) for key in ("loss", "accuracy"))
    confusion = np.array(result.test["confusion"])  # type: ignore[index]
    assert confusion.sum() % (32 * 32) == 0 and confusion.sum(1).min() > 0


def test_an_empty_mask_is_background_everywhere() -> None:
    data = Folder(str(parts()), ["good", "defect"], "auto", 255, False)
    scan = scan_dataset(data, data.names)
    assert scan.pixel_counts[0].tolist() == [32 * 32, 0]
    assert scan.pixel_counts[-1].tolist() == [
        32 * 32 - 6 * 24,
        6 * 24,
    ]
    good = scan.subset(data.names[:6])
    assert len(label_subset(good.names, good.pixel_counts, 3, seed=0)) == 3
    presence = Presence(weight=1.0, void=0.0, dropout=0.0)
    assert presence.target(data.sample("00"), classes=2).tolist() == [1, 0]


@pytest.mark.parametrize("name", option_names("loss"))
@pytest.mark.parametrize("weights", ["null", "median"])
def test_every_loss_takes_a_batch_without_the_second_class(name: str, weights: str) -> None:
    values = compose("train", [f"loss={name}", f"loss.class_weights={weights}"])
    loss = build(values["loss"], "loss")
    loss.set_class_weights(torch.tensor([1000, 10]))
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    target = torch.zeros(2, 8, 8, dtype=torch.uint8)
    value = (loss(logits, target) / loss.normalizers(target)).sum()
    value.backward()
    assert torch.isfinite(value) and logits.grad is not None and torch.isfinite(logits.grad).all()
    assert float(logits.grad[:, 1].mean()) > 0  # pushed away from the class that is not there
