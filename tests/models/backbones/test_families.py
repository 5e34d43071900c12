"""One representative of each family of backbones, under every head; and that all the others build."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone
from segrun.models.segmenter import Segmenter
from tests.models.segmenters import segmenter as any_segmenter

SLOW = pytest.mark.slow
QUICK = ["mobilenet_v2", "resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"]
LONG = ["vgg11_bn", "efficientnet_b0", "regnet_y_400mf", "densenet121", "convnext_tiny", "swin_t", "vit_b_32"]
FAMILIES = [*QUICK, *(pytest.param(name, marks=SLOW) for name in LONG)]
HEADS = [
    "linear", "fcn", "fcn head.fuse=[16,8]", "unet", "unet_light", "deeplabv3", "deeplabv3plus", "fpn", "pspnet",
    "upernet", "segformer", "lraspp",
]  # fmt: skip
DILATED = ["mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"]


def segmenter(*overrides: str) -> Segmenter:
    return any_segmenter(*" ".join(overrides).split())


@functools.cache
def alone(name: str) -> Backbone:
    return segmenter(f"backbone={name}", "head=unet").backbone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        *((name, head) for name in QUICK for head in HEADS),
        *(pytest.param(name, head, marks=SLOW) for name in LONG for head in ("unet", "deeplabv3plus", "upernet")),
    ],
)
def test_every_head_fits_and_backward_reaches_just_what_learns(name: str, head: str) -> None:
    model = segmenter(f"backbone={name}", f"head={head}")
    first = next(iter(model.parts()))
    for parameter in model.parts()[first].parameters:
        model.get_parameter(parameter.name).requires_grad_(False)
    scores = model(torch.rand(2, 3, 97, 131)).tasks["mask"]
    assert scores.shape == (2, 3, 97, 131)
    (scores * torch.randn_like(scores)).sum().backward()
    still = {parameter.name for parameter in model.parts()[first].parameters}
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in model.named_parameters()} - still
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_hold_every_parameter_and_levels_are_what_comes_out(name: str) -> None:
    made = alone(name).eval()
    with torch.no_grad():
        maps = made(torch.rand(1, 3, 128, 192))
    assert [m.shape[1] for m in maps] == [level.channels for level in made.levels]
    strides = [level.stride for level in made.levels]
    assert strides == sorted(set(strides))
    for found, stride in zip(maps, strides, strict=True):  # squeezenet's borders are not padded
        assert abs(found.shape[-2] - 128 / stride) <= 1 and abs(found.shape[-1] - 192 / stride) <= 1
    paths = [path for group in (*made.stages.values(), *made.fresh.values()) for path in group]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", [*DILATED, *(pytest.param(n, marks=SLOW) for n in LONG[:3])])
def test_dilation_computes_what_the_strided_network_does(name: str, output_stride: int) -> None:
    plain = lively(segmenter(f"backbone={name}", "head=unet").backbone)
    dilated = segmenter(f"backbone={name}", f"backbone.output_stride={output_stride}", "head=unet").backbone
    dilated.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        fine, coarse = dilated.double().eval()(images), plain(images)
    assert max(level.stride for level in dilated.levels) <= output_stride
    squeezing = any(isinstance(m, nn.AdaptiveAvgPool2d) for m in plain.modules())  # averages see other positions
    for after, before, is_, was in zip(fine, coarse, dilated.levels, plain.levels, strict=True):
        step = was.stride // is_.stride
        if not squeezing or step == 1:
            torch.testing.assert_close(after[..., ::step, ::step], before, rtol=1e-9, atol=1e-12)


def lively(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module.double().eval()


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", *(pytest.param(n, marks=SLOW) for n in ("densenet121", "convnext_tiny", "swin_t"))]
)
def test_what_cannot_be_dilated_says_why_and_heads_only_ask(name: str) -> None:
    with pytest.raises(RequestError, match=r"backbone\.output_stride=8: this backbone cannot be dilated \("):
        segmenter(f"backbone={name}", "backbone.output_stride=8", "head=unet")
    asked = segmenter(f"backbone={name}", "head=pspnet")
    assert asked.backbone.levels == alone(name).levels


def test_a_head_asks_for_a_stride_and_the_user_decides() -> None:
    assert segmenter("backbone=resnet18", "head=pspnet").backbone.levels[-1].stride == 8
    assert segmenter("backbone=resnet18", "head=pspnet", "backbone.output_stride=32").backbone.levels[-1].stride == 32
    assert segmenter("backbone=resnet18", "head=fpn").backbone.levels[-1].stride == 32


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_b_16", "swin_t", "convnext_tiny", "densenet121", "efficientnet_b0", "regnet_y_400mf"]
)
def test_the_deepest_map_is_torchvisions_own(name: str) -> None:
    """At the size the classifier was made for, against a forward pass of torchvision's whole network."""
    made = alone(name).double().eval()
    whole = models.get_model(name, weights=None)
    whole.load_state_dict(
        {k.removeprefix("body."): v for k, v in made.state_dict().items() if "pyramid" not in k}, strict=False
    )
    whole.double().eval()
    images = torch.rand(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        deep = made(images)[2 if name == "vit_b_16" else -1]
        torch.testing.assert_close(deep, expected(whole, images, name))
    made.float()


def expected(whole: nn.Module, images: Tensor, name: str) -> Tensor:
    if name == "vit_b_16":
        tokens = whole._process_input(images)  # type: ignore[operator]
        tokens = torch.cat((whole.class_token.expand(1, -1, -1), tokens), 1)  # type: ignore[operator]
        return whole.encoder(tokens)[:, 1:].transpose(1, 2).reshape(1, 768, 14, 14)  # type: ignore[no-any-return,operator]
    if name == "swin_t":
        return whole.norm(whole.features(images)).permute(0, 3, 1, 2)  # type: ignore[no-any-return,operator]
    if name.startswith("regnet"):
        return whole.trunk_output(whole.stem(images))  # type: ignore[no-any-return,operator]
    return whole.features(images)  # type: ignore[no-any-return,operator]


def test_a_vit_ends_where_the_head_wants_it_and_drops_what_no_head_reads() -> None:
    model = segmenter("backbone=vit_b_32", "head=linear")
    assert [level.stride for level in model.backbone.levels] == [4, 8, 16]
    assert [name for name in model.parts() if "pyramid" in name] == ["pyramid"]
    with pytest.raises(RequestError, match=r"output_stride=2: the pyramid's strides are 4, 8, 16, 32"):
        model.backbone.dilate(2)


def test_an_image_too_small_for_the_backbone_is_told_with_the_cure() -> None:
    model = segmenter("backbone=squeezenet1_1", "head=unet")
    with pytest.raises(
        RequestError, match=r"images of 9×8 pixels are too small .* stride 16: .*sizing\.size=\[32,32\]"
    ):
        model(torch.rand(2, 3, 8, 9))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_an_image_smaller_than_the_stride_is_no_matter_where_it_can_be_read(name: str) -> None:
    assert segmenter(f"backbone={name}", "head=unet")(torch.rand(2, 3, 5, 7)).tasks["mask"].shape == (2, 3, 5, 7)
