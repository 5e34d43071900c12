"""Models without storage, as `segrun plan` builds them: weights are named and checked, but never fetched or read."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import nn

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.config.options import conf_dir, option_names
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone, Level, Weightless
from segrun.models.heads.fcn import FCN
from segrun.models.segmenter import Segmenter
from segrun.models.warm_start import start_from

NEED_TIMM = ("timm", "efficientnet_lite0", "efficientnet_lite1")


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("nothing may be fetched or read")


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network, the Hugging Face client and every reader of weights files fail the test."""
    for name in (
        "socket.create_connection",
        "socket.getaddrinfo",
        "subprocess.run",
        "torch.load",
        "safetensors.torch.load_file",
        "torch.hub.download_url_to_file",
        "huggingface_hub.hf_hub_download",
        "huggingface_hub.try_to_load_from_cache",
    ):
        monkeypatch.setattr(name, refuse)


@functools.cache
def settings(name: str) -> dict[str, Any]:
    overrides = ["backbone.name=resnet10t"] if name == "timm" else []
    values: dict[str, Any] = compose("describe", [f"backbone={name}", *overrides])["backbone"]
    return values


def weightless(name: str, **changed: Any) -> Backbone:
    if name in NEED_TIMM:
        pytest.importorskip("timm", reason="extra timm")
    with Weightless():
        made = build({**settings(name), **changed}, "backbone")
    assert isinstance(made, Backbone)
    return made


def backbones() -> Iterator[Any]:
    """All that ship; of each family the first is in the quick suite."""
    for name in option_names("backbone"):
        derived = "defaults:" in (conf_dir() / "backbone" / f"{name}.yaml").read_text()
        yield pytest.param(name, marks=pytest.mark.slow) if derived else name


@pytest.mark.parametrize("name", backbones())
def test_every_backbone_is_planned_with_its_default_weights_without_reading_any(name: str) -> None:
    made = weightless(name)
    assert all(parameter.is_meta for parameter in made.parameters())
    report = made.report
    assert report.expected and report.share == 1 and not report.new
    pyramid = tuple(f"{path}." for paths in made.fresh.values() for path in paths)
    assert set(report.loaded) == {name for name in made.state_dict() if not name.startswith(pyramid or "-")}
    assert str(report).startswith("expected: ")


@pytest.mark.parametrize(
    "weights", ["IMAGENET1K_V1", "https://one.example/model.pth", "mine.pth", "run", "run/best.ckpt"]
)
def test_named_weights_are_expected_and_their_file_is_not_opened(weights: str) -> None:
    Path("run").mkdir()
    for path in ("mine.pth", "run/best.ckpt"):
        Path(path).write_bytes(b"no weights")
    report = weightless("mobilenet_v2", weights=weights).report
    assert report.expected and report.share == 1


@pytest.mark.parametrize("name", ["mobilenet_v2", "timm"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("imagnet", r"backbone\.weights=imagnet: neither a file nor the name of published weights\. "),
        ("there/w.pth", r"backbone\.weights=there/w\.pth: there is no such file\."),
        ("empty_run", r"backbone\.weights=empty_run: there is no such file\."),
        ("outputs/train/none", r"backbone\.weights=outputs/train/none: there is no such file\."),
    ],
)
def test_weights_that_do_not_exist_are_refused_as_in_training(name: str, weights: str, message: str) -> None:
    Path("empty_run").mkdir()
    with pytest.raises(RequestError, match=message) as planned:
        weightless(name, weights=weights)
    with pytest.raises(RequestError, match=message) as trained:
        build({**settings(name), "weights": weights}, "backbone")
    assert str(planned.value) == str(trained.value)


def test_a_network_of_timms_without_published_weights_is_refused() -> None:
    timm = pytest.importorskip("timm", reason="extra timm")
    unpublished = next(name for name in timm.list_models("resnet*") if not timm.get_pretrained_cfg(name).has_weights)
    with Weightless(), pytest.raises(RequestError, match=f"weights=pretrained: timm publishes no .* for {unpublished}"):
        build({**settings("timm"), "name": unpublished}, "backbone")


def test_random_weights_are_not_expected() -> None:
    report = weightless("mobilenet_v2", weights="none").report
    assert not report.expected and report.loaded == ()


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_planned_too(channels: int) -> None:
    made = weightless("resnet18", in_channels=channels)
    assert made.report.expected and len(made.mean) == channels


def test_a_dilated_backbone_is_planned_too() -> None:
    assert weightless("resnet18", output_stride=8).levels[-1].stride == 8


def fcn(backbone: Backbone, classes: int) -> Segmenter:
    return Segmenter(backbone, {"mask": FCN(backbone.levels, classes, channels=8, dropout=0.0, fuse=[])})


def test_a_segmenters_report_stays_expected() -> None:
    with Weightless():
        model = fcn(weightless("mobilenet_v2"), 3)
    assert model.report.expected
    parts = model.parts()
    assert all(parts[name].loaded == 1 for name in parts.backbone)
    assert parts["head.mask"].loaded == 0


def test_a_warm_start_without_storage_reports_what_a_real_one_does() -> None:
    """Its weights have been read already, so that nothing needs to be assumed."""
    values = {**settings("mobilenet_v2"), "weights": "none"}
    origin = fcn(build(values, "backbone"), 3).state_dict()
    axes = {"mask.output.weight": 0, "mask.output.bias": 0}
    arguments = (origin, "run", 0.9, ["b", "new"], ["a", "b", "c"], axes, True)
    real = start_from(fcn(build(values, "backbone"), 2), *arguments)
    with Weightless():
        model = fcn(build(values, "backbone"), 2)
    assert start_from(model, *arguments) == real
    assert not real.expected and set(real.adapted) == {"heads.mask.output.weight", "heads.mask.output.bias"}


def test_what_a_constructor_computes_with_stays_real() -> None:
    with Weightless():
        layer = nn.Conv2d(3, 4, 3)
        assert torch.tensor([2.0]).item() == 2
    assert layer.weight.is_meta


def test_levels_are_those_of_the_real_network() -> None:
    assert weightless("resnet18").levels == tuple(
        Level(channels, stride) for channels, stride in ((64, 2), (64, 4), (128, 8), (256, 16), (512, 32))
    )
