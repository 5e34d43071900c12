"""What backbone.weights asks for, and what a backbone makes of it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub" / "hub" / "checkpoints"


@functools.cache
def shipped() -> dict[str, Any]:
    return compose("train", ["backbone=mobilenet_v2"])["backbone"]


def mobilenet(weights: str, **changed: Any) -> Backbone:
    made = build({**shipped(), "weights": weights, "wheel": None, **changed}, "backbone")
    assert isinstance(made, Backbone)
    return made


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RequestError, match=r"backbone\.weights=there/w\.pth: there is no such file"):
        mobilenet("there/w.pth")


def test_a_users_file_is_loaded_with_its_provenance() -> None:
    donor = models.mobilenet_v2(weights=None)
    torch.save(donor.state_dict(), "mine.pth")
    made = mobilenet("mine.pth")
    for name, value in made.state_dict().items():
        assert torch.equal(value, donor.state_dict()[name.removeprefix("body.")])
    assert set(made.report.loaded) == set(made.state_dict())
    assert made.report.unused == ("classifier.1.weight", "classifier.1.bias")
    assert made.report.share == 1
    assert str(made.report) == "mine.pth: 312 tensors loaded, 0 adapted, 0 new, 2 unused; 100.0% of its values"


def test_a_state_dict_wrapped_by_a_training_is_unwrapped() -> None:
    donor = models.mobilenet_v2(weights=None)
    torch.save({"epoch": 9, "state_dict": donor.state_dict()}, "mine.pth")
    made = mobilenet("mine.pth")
    assert torch.equal(made.state_dict()["body.features.0.0.weight"], donor.state_dict()["features.0.0.weight"])


def test_weights_of_another_architecture_are_refused() -> None:
    torch.save(models.resnet18(weights=None).state_dict(), "resnet.pth")
    with pytest.raises(RequestError, match=r"resnet\.pth: fills only 0% .*min_loaded=0\.9.*same architecture"):
        mobilenet("resnet.pth")


def test_weights_that_fill_a_part_load_where_it_is_allowed() -> None:
    donor = {
        k: v for k, v in models.mobilenet_v2(weights=None).state_dict().items() if not k.startswith("features.18.")
    }
    torch.save(donor, "part.pth")
    with pytest.raises(RequestError, match=r"min_loaded=0\.9"):
        mobilenet("part.pth")
    made = mobilenet("part.pth", min_loaded=0.5)
    assert 0.5 < made.report.share < 0.9
    assert all(name.startswith("body.features.18.") for name in made.report.new)


def test_no_weights_says_so() -> None:
    made = mobilenet("none")
    assert made.report.loaded == ()
    assert str(made.report) == "none: every weight starts at random"


def test_an_unknown_name_of_weights_lists_the_known() -> None:
    with pytest.raises(
        RequestError, match=r"backbone\.weights=imagnet: neither a file nor the name.*Did you mean imagenet"
    ):
        mobilenet("imagnet")


@pytest.mark.parametrize(
    ("backbone", "network"),
    [("resnet50", "deeplabv3_resnet50"), ("mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")],
)
def test_coco_weights_are_the_backbone_inside_the_segmentation_model(
    cache: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, network: str
) -> None:
    whole = models.get_model(network, weights=None, weights_backbone=None, aux_loss=True)
    entry = next(iter(models.get_model_weights(network)))
    cache.mkdir(parents=True)
    torch.save(whole.state_dict(), cache / entry.url.rpartition("/")[2])
    monkeypatch.setattr("segrun.models.weights.fetching._sha256", lambda path: path.stem.rpartition("-")[2])
    values = compose("describe", [f"backbone={backbone}", "backbone.weights=coco"])["backbone"]
    made = build(values, "backbone")
    theirs, own = list(whole.backbone.state_dict().values()), list(made.state_dict().values())
    assert made.report.share == 1 and all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))


def test_imagenet_weights_come_out_of_the_cache_with_their_normalisation(cache: Path) -> None:
    entry = models.MobileNet_V2_Weights.IMAGENET1K_V1
    name = entry.url.rpartition("/")[2]
    cache.mkdir(parents=True)
    torch.save(models.mobilenet_v2(weights=None).state_dict(), cache / name)
    wheel = {"package": "x", "version": "1", "member": "x", "sha256": sha256(cache / name)}
    made = mobilenet("imagenet", wheel=wheel)
    assert made.report.source == f"hub cache ({name})"
    assert (made.mean, made.std) == (tuple(entry.transforms().mean), tuple(entry.transforms().std))
