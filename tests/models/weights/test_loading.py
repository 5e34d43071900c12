"""Pretrained tensors into a network: every one accounted for, whatever the file calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torchvision import models

import segrun
from segrun.config.build import build
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.weights.adapting import fold_channels
from segrun.models.weights.loading import load_into
from tests.conftest import QUICK

State = dict[str, Tensor]


def backbone(weights: str, **changed: object) -> Backbone:
    values = compose("describe", ["backbone=resnet18"])["backbone"]
    made = build({**values, "weights": weights, **changed}, "backbone")
    assert isinstance(made, Backbone)
    return made


@pytest.fixture(scope="module")
def donor() -> State:
    torch.manual_seed(1)
    return models.resnet18(weights=None).state_dict()


def moco(state: State) -> object:
    """Query first, key encoder (another network) after it, as the published checkpoints."""
    query = {f"module.encoder_q.{k}": v for k, v in state.items()}
    return {"epoch": 200, "state_dict": {**query, **{f"module.encoder_k.{k}": v + 1 for k, v in state.items()}}}


def dino(state: State) -> object:
    student = {f"module.backbone.{k}": v + 1 for k, v in state.items()}
    return {"student": student, "teacher": {f"backbone.{k}": v for k, v in state.items()}, "epoch": 9}


def prefixed(prefix: str) -> Callable[[State], object]:
    return lambda state: {prefix + k: v for k, v in state.items()}


WRAPPERS: list[Callable[[State], object]] = [
    moco, dino, prefixed("module."), prefixed("backbone."), prefixed("encoder."), prefixed("module.encoder."),
    prefixed("_orig_mod."), lambda s: {"state_dict": s}, lambda s: {"model": {f"convnet.{k}": v for k, v in s.items()}},
    lambda s: {"head.weight": torch.zeros(3), **s}, lambda s: {"model": s, "model_ema": s},
]  # fmt: skip


@pytest.mark.parametrize("wrapped", WRAPPERS)
def test_the_usual_wrappers_are_understood(donor: State, wrapped: Callable[[State], object]) -> None:
    torch.save(wrapped(donor), "w.pth")
    made = backbone("w.pth")
    for name, value in made.state_dict().items():
        assert torch.equal(value, donor[name.removeprefix("body.")]), name
    assert made.report.share == 1 and not made.report.new


def test_safetensors_are_read(donor: State) -> None:
    safetensors.torch.save_file({k: v.contiguous() for k, v in donor.items()}, "w.safetensors")
    assert backbone("w.safetensors").report.share == 1


def test_broken_safetensors_are_refused() -> None:
    Path("w.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(RequestError, match=r"w\.safetensors: no weights file"):
        backbone("w.safetensors")


def test_a_url_is_fetched_once_under_a_name_of_its_own(
    donor: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(donor, "published.pth")
    asked: list[str] = []

    def host(url: str, path: Path, sha256: str) -> None:
        asked.append(url)
        path.write_bytes(Path("published.pth").read_bytes())

    monkeypatch.setattr("segrun.models.weights.fetching.download_from_host", host)
    for url in ("https://one.example/model.pth", "https://two.example/model.pth", "https://one.example/model.pth"):
        assert backbone(url).report.share == 1
    assert asked == ["https://one.example/model.pth", "https://two.example/model.pth"]


def test_weights_below_min_loaded_stop_the_run(donor: State) -> None:
    torch.save({k: v for k, v in donor.items() if not k.startswith("layer4")}, "part.pth")
    with pytest.raises(RequestError, match=r"part\.pth: fills only 25% .*min_loaded=0\.9"):
        backbone("part.pth")
    report = backbone("part.pth", min_loaded=0.2).report
    assert report.new and all(name.startswith("body.layer4") for name in report.new)
    assert report.names()["new"] == list(report.new) and report.names()["unused"] == ["fc.weight", "fc.bias"]


def test_a_share_that_is_none_is_refused(donor: State) -> None:
    torch.save(donor, "w.pth")
    with pytest.raises(RequestError, match=r"backbone\.min_loaded=2: must be a number from 0 to 1"):
        backbone("w.pth", min_loaded=2)


def test_a_tensor_of_another_shape_is_new_not_cut(donor: State) -> None:
    state = {**donor, "layer1.0.conv1.weight": torch.zeros(64, 32, 3, 3)}
    report = load_into(models.resnet18(weights=None), state, "x", 0.9)
    assert report.new == ("layer1.0.conv1.weight",)
    assert "layer1.0.conv1.weight" in report.unused


@pytest.mark.parametrize("channels", [1, 4])
def test_a_backbone_for_other_images_keeps_its_pretrained_kernel(donor: State, channels: int) -> None:
    torch.save(donor, "w.pth")
    made = backbone("w.pth", in_channels=channels)
    assert made.report.adapted == ("body.conv1.weight",) and not made.report.new
    torch.testing.assert_close(made.state_dict()["body.conv1.weight"], fold_channels(donor["conv1.weight"], channels))
    assert len(made.mean) == len(made.std) == channels
    assert made(torch.rand(1, channels, 64, 64))[-1].shape[1] == 512


def test_no_channels_are_refused() -> None:
    with pytest.raises(RequestError, match=r"backbone\.in_channels=0: must be a whole number of at least 1"):
        backbone("none", in_channels=0)


def test_a_backbone_starts_from_a_segrun_run_with_its_normalisation(pretrained: Path) -> None:
    words = [*QUICK, "trainer.epochs=1", f"backbone.weights={pretrained}"]
    folder = segrun.train([*words, "head=unet_light", "head.channels=[8,8,8,8]"]).folder
    values = compose("describe", ["backbone=mobilenet_v2"])["backbone"]
    for place in (folder, folder / "best.ckpt"):
        made = build({**values, "weights": str(place)}, "backbone")
        kept = torch.load(folder / "best.ckpt", weights_only=True)["weights"]
        assert made.report.share == 1
        for name, value in made.state_dict().items():
            assert torch.equal(value, kept[f"backbone.{name}"])
        assert made.mean == pytest.approx(kept["mean"].flatten().tolist())


@pytest.mark.parametrize(("larger", "smaller"), [("resnet34", "resnet18"), ("resnet101", "resnet50")])
def test_weights_of_a_deeper_network_are_refused_though_they_fill_the_backbone(larger: str, smaller: str) -> None:
    torch.save(models.get_model(larger, weights=None).state_dict(), "deep.pth")
    values = compose("describe", [f"backbone={smaller}"])["backbone"]
    with pytest.raises(RequestError, match=r"deep\.pth: has \d+ tensors more .*layer\d.*larger architecture"):
        build({**values, "weights": "deep.pth"}, "backbone")


def test_a_first_kernel_of_another_size_is_refused_whatever_its_share(donor: State) -> None:
    torch.save({**donor, "conv1.weight": torch.zeros(64, 3, 5, 5)}, "w.pth")
    with pytest.raises(RequestError, match=r"first kernel is \[64, 3, 5, 5\], the backbone's \[64, 3, 7, 7\]"):
        backbone("w.pth")


def test_an_exact_student_comes_before_a_larger_teacher(donor: State) -> None:
    larger = models.resnet50(weights=None).state_dict()
    wrapped = {
        "student": {f"net.{k}": v for k, v in donor.items()},
        "teacher": {f"net.{k}": v for k, v in larger.items()},
    }
    torch.save(wrapped, "w.pth")
    assert torch.equal(backbone("w.pth").state_dict()["body.conv1.weight"], donor["conv1.weight"])
