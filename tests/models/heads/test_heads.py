"""Each head on each backbone: sizes, gradients, parameter counts, and the message of a head that cannot be built."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.segmentation.lraspp import LRASPPHead

from segrun.config.build import build, to_dataclass
from segrun.config.compose import compose
from segrun.device import make_accelerator
from segrun.engine.objective import Objective
from segrun.engine.settings import TrainerSettings
from segrun.engine.step import train_step
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone, Level, measured_levels
from segrun.models.heads.deeplabv3plus import DeepLabV3Plus
from segrun.models.heads.fcn import FCN
from segrun.models.heads.lraspp import LRASPP
from segrun.models.heads.unet import UNet
from segrun.models.segmenter import Segmenter
from segrun.tasks.balance.fixed import Fixed
from segrun.tasks.task import Task
from segrun.types import Batch
from tests.models.segmenters import segmenter as any_segmenter

LEVELS = (Level(4, 2), Level(6, 4), Level(8, 8), Level(10, 16), Level(12, 32))
HEADS = ["head=fcn", "head=fcn head.fuse=[16,8]", "head=unet", "head=deeplabv3plus"]
PAIRS = [(backbone, head) for backbone in ("mobilenet_v2", "resnet18") for head in HEADS] + [
    pytest.param(backbone, head, marks=pytest.mark.slow)
    for backbone in ("resnet50", "vgg16_bn")
    for head in [*HEADS, "head=deeplabv3plus head.separable=false backbone.output_stride=8"]
]


def segmenter(words: str, classes: int = 3) -> Segmenter:
    return any_segmenter(*words.split(), classes=classes)


def maps(height: int = 64, width: int = 96) -> list[torch.Tensor]:
    return [torch.rand(2, level.channels, height // level.stride, width // level.stride) for level in LEVELS]


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_scores_have_the_images_size_and_reach_every_parameter(backbone: str, head: str) -> None:
    model = segmenter(f"backbone={backbone} {head}")
    scores = model(torch.rand(2, 3, 67, 93)).tasks["mask"]
    assert scores.shape == (2, 3, 67, 93)
    (scores * torch.randn_like(scores)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in model.heads.named_parameters() if not p.grad.any()] == []


def test_deeplabv3plus_on_mobilenet_has_the_published_networks_parameters() -> None:
    model = segmenter("backbone=mobilenet_v2 head=deeplabv3plus", classes=11)
    assert sum(p.numel() for p in model.parameters()) == 4_381_083  # segmentation_models_pytorch's network


def test_unet_on_mobilenet_has_the_usual_decoders_parameters() -> None:
    head = segmenter("backbone=mobilenet_v2 head=unet", classes=11).heads["mask"]
    expected, below = 0, 1280
    for skip, width in zip((96, 32, 24, 16, 0), (256, 128, 64, 32, 16), strict=True):
        expected += (below + skip) * width * 9 + width * width * 9 + 4 * width
        below = width
    assert sum(p.numel() for p in head.parameters()) == expected + 11 * 16 * 9 + 11


def test_deeplabv3plus_reads_the_backbone_at_output_stride_16_with_its_rates() -> None:
    model = segmenter("backbone=mobilenet_v2 head=deeplabv3plus")
    assert model.backbone.levels[-1].stride == 16
    assert rates(model.heads["mask"]) == [6, 12, 18]


@pytest.mark.parametrize(("stride", "expected"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_aspp_rates_follow_the_output_stride(stride: int, expected: list[int]) -> None:
    levels = (Level(4, 4), Level(8, stride))
    head = DeepLabV3Plus(levels, 2, channels=8, low=4, rates=[6, 12, 18], separable=False, dropout=0.0)
    assert rates(head) == expected


def rates(head: nn.Module) -> list[int]:
    return [m.dilation[0] for m in head.modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1]


@pytest.mark.parametrize("stride", [4, 64])
def test_a_level_that_the_backbone_lacks_is_said_with_those_it_has(stride: int) -> None:
    with pytest.raises(RequestError, match=rf"head=fcn needs a feature map at stride {stride}.*strides 8, 16"):
        FCN((Level(4, 8), Level(8, 16)), 2, channels=None, dropout=0.0, fuse=[stride])


def test_deeplabv3plus_without_a_map_at_stride_4_is_refused() -> None:
    with pytest.raises(RequestError, match=r"head=deeplabv3plus needs a feature map at stride 4; .*strides 8, 16"):
        DeepLabV3Plus((Level(4, 8), Level(8, 16)), 2, channels=8, low=4, rates=[6], separable=True, dropout=0.0)


def test_unet_with_fewer_channels_than_skips_is_refused() -> None:
    with pytest.raises(RequestError, match=r"head\.channels=\[8, 8\].*at least 4"):
        UNet(LEVELS, 2, channels=[8, 8])


def test_unet_may_leave_out_the_step_without_a_skip() -> None:
    assert UNet(LEVELS, 2, channels=[8, 8, 8, 8]).eval()(maps())[0].shape == (2, 32, 48)
    assert UNet(LEVELS, 2, channels=[8, 8, 8, 8, 8]).eval()(maps())[0].shape == (2, 64, 96)


def test_a_fused_fcn_starts_as_the_plain_one_and_can_leave_it() -> None:
    plain = FCN(LEVELS, 2, channels=8, dropout=0.0, fuse=[]).eval()
    fused = FCN(LEVELS, 2, channels=8, dropout=0.0, fuse=[8, 16]).eval()
    fused.load_state_dict(plain.state_dict(), strict=False)
    features = maps(128, 128)
    small, large = plain(features), fused(features)
    assert large.shape[-2:] == (16, 16)
    up = nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)
    up = nn.functional.interpolate(up, (16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(large, up)
    nn.init.ones_(fused.scores[1].weight)  # type: ignore[arg-type]
    assert not torch.allclose(fused(features), up)


def test_fused_scores_are_those_of_the_strides_asked_for() -> None:
    fused = FCN(LEVELS, 2, channels=None, dropout=0.0, fuse=[8, 16])
    assert [score.in_channels for score in fused.scores] == [10, 8]
    assert fused.output.in_channels == 12 // 4


def test_training_starts_near_equal_scores() -> None:
    scores = segmenter("backbone=resnet18 head=unet").eval()(torch.rand(1, 3, 64, 64)).tasks["mask"]
    assert 0 < scores.softmax(1).std(1).max() < 0.1


def test_image_pooling_of_a_single_image_is_refused_with_the_cure() -> None:
    values = compose("train", ["trainer.batch_size=1"])
    settings = to_dataclass(values["trainer"], TrainerSettings, "trainer")
    model = segmenter("head=deeplabv3plus", classes=2)
    task = Task("mask", build(values["loss"], "loss"))
    batch = Batch(("a",), torch.rand(1, 3, 64, 64), {"mask": torch.zeros(1, 64, 64, dtype=torch.uint8)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RequestError, match=r"trainer\.batch_size=1: .*two or more per batch.*head=unet"):
        objective = Objective([task], Fixed())
        train_step(
            model, optimizer, objective, [batch], settings, make_accelerator("cpu", "fp32"), stopping=False, seed=0
        )


def twins(ours: nn.Module, theirs: nn.Module) -> None:
    """Give ours the other's weights, in the order they are made in."""
    values = list(theirs.state_dict().values())
    own = ours.state_dict()
    assert [v.shape for v in own.values()] == [v.shape for v in values]
    ours.load_state_dict(dict(zip(own, values, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fcn", "deeplabv3"])
def test_on_resnet50_torchvisions_own_network_gives_the_same(head: str) -> None:
    theirs = models.get_model(f"{head}_resnet50", weights=None, weights_backbone=None, num_classes=5).eval()
    ours = segmenter(f"backbone=resnet50 head={head} backbone.output_stride=8", classes=5).eval()
    ours.backbone.load_state_dict({f"body.{k}": v for k, v in theirs.backbone.state_dict().items()})
    twins(ours.heads["mask"], theirs.classifier)
    ours, theirs, images = ours.double(), theirs.double(), torch.rand(2, 3, 97, 131, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(ours.normalised(images))["out"]
        torch.testing.assert_close(ours(images).tasks["mask"], expected, rtol=1e-9, atol=1e-9)


def test_lraspp_gives_what_torchvisions_does() -> None:
    other = LRASPPHead(low_channels=6, high_channels=10, num_classes=5, inter_channels=8).eval()
    head = LRASPP((Level(6, 8), Level(10, 16)), 5, channels=8).eval()
    for mine, its in ((head.deep, other.cbr), (head.gate, other.scale), (head.low, other.low_classifier)):
        twins(mine, its)
    twins(head.output, other.high_classifier)
    low, high = torch.rand(2, 6, 13, 17), torch.rand(2, 10, 7, 9)
    torch.testing.assert_close(head([low, high]), other({"low": low, "high": high}))


@pytest.mark.parametrize(("head", "theirs"), [("unet", "Unet"), ("deeplabv3plus", "DeepLabV3Plus")])
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet18"])
def test_smps_same_network_has_as_many_parameters(backbone: str, head: str, theirs: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="extra bench")
    other = getattr(smp, theirs)(backbone, encoder_weights=None, classes=7)
    ours = segmenter(f"backbone={backbone} head={head}", classes=7)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in other.parameters())


def test_heads_read_only_the_levels_they_say() -> None:
    for head in ("linear", "fcn", "deeplabv3", "deeplabv3plus", "fpn", "pspnet", "upernet", "segformer", "lraspp"):
        made = segmenter(f"backbone=mobilenet_v2 head={head}").heads["mask"].eval()
        levels = segmenter(f"backbone=mobilenet_v2 head={head}").backbone.levels
        features = [torch.rand(1, level.channels, 64 // level.stride, 64 // level.stride) for level in levels]
        unread = [f if index in made.levels_used else torch.full_like(f, torch.nan) for index, f in enumerate(features)]
        assert torch.equal(made(unread), made(features)), head


def test_lraspp_without_a_map_at_stride_8_is_refused() -> None:
    with pytest.raises(RequestError, match=r"head=lraspp needs a feature map at stride 8; .*strides 4, 16"):
        LRASPP((Level(4, 4), Level(8, 16)), 2, channels=8)


def test_a_backbone_without_the_level_is_told_the_heads_that_fit() -> None:
    """A backbone whose only map is at stride 8."""
    with pytest.raises(
        RequestError,
        match=r"head=deeplabv3plus needs .* stride 4; .*strides 8\. Heads that fit it: deeplabv3, fcn",
    ):
        segmenter("backbone._target_=tests.models.heads.test_heads.Coarse head=deeplabv3plus")


class Coarse(Backbone):
    """One map at stride 8."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 8, stride=8)
        self.stages = {"body": ["body"]}
        self.levels = measured_levels(self)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.body(images)]
