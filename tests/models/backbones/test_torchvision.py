"""Backbones out of torchvision: published levels are real, dilation is exact, wrong requests say the cure."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone

SLOW = pytest.mark.slow
SHIPPED = ["mobilenet_v2", "resnet18", pytest.param("resnet50", marks=SLOW), pytest.param("vgg16_bn", marks=SLOW)]
CHANNELS = {
    "mobilenet_v2": [16, 24, 32, 96, 1280],
    "resnet18": [64, 64, 128, 256, 512],
    "resnet50": [64, 256, 512, 1024, 2048],
    "vgg16_bn": [64, 128, 256, 512, 512],
}


@functools.cache
def shipped(name: str) -> dict[str, Any]:
    return compose("train", [f"backbone={name}", "head=unet", "backbone.weights=none"])["backbone"]


def backbone(name: str, **changed: Any) -> Backbone:
    made = build({**shipped(name), **changed}, "backbone")
    assert isinstance(made, Backbone)
    return made


def lively(module: nn.Module) -> nn.Module:
    """Norms with statistics and scales of their own, so that no mistake hides behind zeros and ones."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return module.double().eval()


@pytest.mark.parametrize("name", SHIPPED)
def test_levels_are_as_published_at_an_odd_size(name: str) -> None:
    made = backbone(name)
    assert [level.channels for level in made.levels] == CHANNELS[name]
    strides = [1, 2, 4, 8, 16] if name == "vgg16_bn" else [2, 4, 8, 16, 32]
    assert [level.stride for level in made.levels] == strides
    with torch.no_grad():
        maps = made.eval()(torch.rand(1, 3, 97, 131))
    for found, level in zip(maps, made.levels, strict=True):
        assert found.shape[1] == level.channels
        for side, size in zip(found.shape[-2:], (97, 131), strict=True):  # torchvision's layers round up, vgg's down
            assert side in (size // level.stride, -(-size // level.stride))


@pytest.mark.parametrize("name", SHIPPED[:-1])
def test_the_deepest_map_is_that_of_the_whole_classifier(name: str) -> None:
    made = lively(backbone(name))
    whole = models.get_model(name, weights=None)
    whole.load_state_dict({k.removeprefix("body."): v for k, v in made.state_dict().items()}, strict=False)
    whole.double().eval()
    images = torch.rand(1, 3, 32, 64, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(made(images)[-1], features(whole, images, name))


def features(whole: nn.Module, images: Tensor, name: str) -> Tensor:
    if name.startswith("resnet"):
        children = [child for key, child in whole.named_children() if key not in ("avgpool", "fc")]
        return nn.Sequential(*children)(images)
    return whole.features(images)  # type: ignore[no-any-return,operator]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", SHIPPED)
def test_dilation_computes_just_what_the_strided_network_does(name: str, output_stride: int) -> None:
    plain = lively(backbone(name))
    dilated = backbone(name, output_stride=output_stride).double().eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 32, 64, dtype=torch.float64)
    with torch.no_grad():
        fine, coarse = dilated(images), plain(images)
    for after, before, is_, was in zip(fine, coarse, dilated.levels, plain.levels, strict=True):
        assert is_.stride == min(was.stride, output_stride) == images.shape[-1] // after.shape[-1]
        step = was.stride // is_.stride
        torch.testing.assert_close(after[..., ::step, ::step], before, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_resnet50_at_output_stride_8_is_torchvisions_own_dilated_one() -> None:
    ours = lively(backbone("resnet50", output_stride=8))
    theirs = models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).double().eval()
    theirs.load_state_dict({k.removeprefix("body."): v for k, v in ours.state_dict().items()}, strict=False)
    images = torch.rand(1, 3, 72, 56, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], features(theirs, images, "resnet50"), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("output_stride", [4, 12, 64])
def test_an_output_stride_that_cannot_be_had_is_refused(output_stride: int) -> None:
    with pytest.raises(RequestError, match=rf"backbone\.output_stride={output_stride}: must be one of 8, 16, 32"):
        backbone("mobilenet_v2", output_stride=output_stride)


def test_an_unknown_model_names_the_closest() -> None:
    with pytest.raises(RequestError, match=r"backbone\.model=resnet19.*Did you mean.*resnet18"):
        backbone("resnet18", model="resnet19")


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("resnet18", {"stages": {"stem": "abc"}}, r"backbone\.stages\.stem=abc: no such module"),
        ("resnet18", {"stages": {"stem": "abc[0:2]"}}, r"backbone\.stages\.stem=abc\[0:2\]: no such module"),
        ("resnet18", {"stages": {}}, r"backbone\.stages: names no stage"),
        ("resnet18", {"stages": {"stem": "conv1", "deep": "layer4"}}, r"backbone\.stages: these modules do not run"),
        ("resnet50", {"coco": "deeplabv3_resnet5"}, r"backbone\.coco=.*Did you mean deeplabv3_resnet50"),
        ("vit_b_32", {"model": "resnet18"}, r"backbone\.model: torchvision's ResNet is no vision transformer"),
    ],
)
def test_what_is_not_in_the_network_is_named(name: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        backbone(name, **changed)


def test_the_classifier_and_what_no_stage_runs_is_dropped() -> None:
    assert not [name for name, _ in backbone("resnet18").named_parameters() if ".fc." in name]
    assert not [name for name, _ in backbone("mobilenet_v2").named_parameters() if "classifier" in name]


def test_building_measures_without_touching_mode_or_statistics() -> None:
    made = backbone("mobilenet_v2", output_stride=16)
    assert made.training
    assert all(int(value) == 0 for name, value in made.named_buffers() if name.endswith("num_batches_tracked"))


def test_an_enum_that_is_none_is_told_only_where_it_is_asked_for() -> None:
    assert backbone("resnet18", imagenet="IMAGENET1K_V9").published is None
    with pytest.raises(RequestError, match=r"weights=IMAGENET1K_V9: .*Did you mean IMAGENET1K_V1"):
        backbone("resnet18", imagenet="IMAGENET1K_V9", weights="imagenet")
