"""Parts partition all parameters of every shipped model; kinds, globs, loaded shares."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from segrun.errors import RequestError
from segrun.models.parts import Adapter, Parts, kind_of, parts_of, plain_name
from segrun.models.weights.report import LoadReport
from tests.models.segmenters import segmenter

STAGES = ("backbone.stem", "backbone.layer1", "backbone.layer2", "backbone.layer3", "backbone.layer4")
HEADS = ("fcn", "unet", "deeplabv3plus")
PAIRS = [(backbone, head) for backbone in ("mobilenet_v2", "resnet18") for head in HEADS] + [
    pytest.param(backbone, head, marks=pytest.mark.slow) for backbone in ("resnet50", "vgg16_bn") for head in HEADS
]


@pytest.fixture(scope="module")
def small() -> Parts:
    return segmenter("backbone=mobilenet_v2", "head=fcn").parts()


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_parts_partition_all_parameters_input_side_first(backbone: str, head: str) -> None:
    model = segmenter(f"backbone={backbone}", f"head={head}")
    parts = model.parts()
    assert tuple(parts) == (*STAGES, "head.mask")
    assert parts.backbone == STAGES
    inside = [p.name for part in parts.values() for p in part.parameters]
    assert len(inside) == len(set(inside))
    assert set(inside) == {name for name, _ in model.named_parameters()}
    assert sum(part.size for part in parts.values()) == sum(p.numel() for p in model.parameters())
    assert all(part.parameters for part in parts.values())


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet18"])
def test_every_batch_norm_belongs_to_the_modules_of_one_part(backbone: str) -> None:
    model = segmenter(f"backbone={backbone}", "head=unet")
    inside = [
        m for part in model.parts().values() for path in part.modules for m in model.get_submodule(path).modules()
    ]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [sum(norm is m for m in inside) for norm in norms] == [1] * len(norms)


def test_kinds_say_what_a_parameter_is(small: Parts) -> None:
    kinds = {p.name: p.kind for part in small.values() for p in part.parameters}
    assert kinds["backbone.body.features.0.0.weight"] == "weight"
    assert kinds["backbone.body.features.0.1.weight"] == "norm_weight"
    assert kinds["backbone.body.features.0.1.bias"] == "norm_bias"
    assert kinds["heads.mask.output.weight"] == "weight"
    assert kinds["heads.mask.output.bias"] == "bias"


def test_attention_biases_and_tokens_have_their_kinds() -> None:
    attention = nn.MultiheadAttention(8, 2)
    assert kind_of(attention, "in_proj_weight") == "weight"
    assert kind_of(attention, "in_proj_bias") == "bias"
    assert kind_of(nn.LayerNorm(8), "bias") == "norm_bias"
    assert kind_of(nn.Module(), "class_token") == "token"
    assert kind_of(nn.Module(), "pos_embedding") == "token"


def test_a_parametrized_parameter_keeps_its_kind_and_stays_loaded() -> None:
    model = nn.ModuleDict({"conv": nn.Conv2d(1, 1, 1), "norm": nn.BatchNorm2d(1)})
    before = parts_of(model, {"all": ["conv", "norm"]})["all"].parameters
    for layer, name in itertools.product(model.values(), ("weight", "bias")):
        parametrize.register_parametrization(layer, name, nn.Identity())
    after = parts_of(model, {"all": ["conv", "norm"]}, [p.name for p in before])["all"].parameters
    assert {plain_name(p.name): p.kind for p in after} == {p.name: p.kind for p in before}
    assert all(p.loaded and p.name.endswith(".original") for p in after)


def test_all_inside_an_adapter_is_the_adapters() -> None:
    class Small(Adapter):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
            self.token = nn.Parameter(torch.zeros(2))

    model = nn.ModuleDict({"layer": nn.Linear(2, 2)})
    model["layer"].adapter = Small()
    kinds = {p.name: p.kind for p in parts_of(model, {"all": ["layer"]})["all"].parameters}
    assert {kind for name, kind in kinds.items() if "adapter" in name} == {"adapter"}
    assert [kind for name, kind in kinds.items() if "adapter" not in name] == ["weight", "bias"]


def test_globs_select_names_in_model_order(small: Parts) -> None:
    assert small.select("backbone.layer[34]") == ("backbone.layer3", "backbone.layer4")
    assert small.select("head.*", "backbone.stem") == ("backbone.stem", "head.mask")
    assert small.select("*.layer4", "backbone.*4") == ("backbone.layer4",)


@pytest.mark.parametrize("globs", [("backbone.layer7",), ("head.*", "layer4")])
def test_a_glob_that_matches_nothing_is_an_error_that_lists_the_names(small: Parts, globs: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match=r"layer.*backbone\.stem.*head\.mask"):
        small.select(*globs)


def test_the_loaded_share_is_counted_in_values() -> None:
    model = segmenter("backbone=mobilenet_v2", "head=fcn")
    stem = [name for name in model.backbone.state_dict() if name.startswith("body.features.0.")]
    model.report = LoadReport("x", loaded=tuple(stem)).prefixed("backbone.")
    parts = model.parts()
    inside = sum(p.numel() for name, p in model.backbone.named_parameters() if name in stem)
    assert parts["backbone.stem"].loaded == inside / parts["backbone.stem"].size
    assert 0 < parts["backbone.stem"].loaded < 1
    assert parts["backbone.layer1"].loaded == 0
    assert parts["head.mask"].loaded == 0


def two_convolutions() -> nn.Module:
    return nn.ModuleDict({"a": nn.Conv2d(1, 1, 1), "ab": nn.Conv2d(1, 1, 1)})


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"one": ["a"], "two": ["a", "ab"]}, "a.weight is in both one and two"),
        ({"one": ["a"]}, "no part holds ab.weight"),
    ],
)
def test_a_parameter_in_no_part_or_in_two_is_refused(modules: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parts_of(two_convolutions(), modules)


def test_a_parameter_of_its_own_can_be_a_part() -> None:
    module = two_convolutions()
    module.class_token = nn.Parameter(torch.zeros(4))
    parts = parts_of(module, {"tokens": ["class_token"], "rest": ["a", "ab"]})
    assert [(p.name, p.kind) for p in parts["tokens"].parameters] == [("class_token", "token")]
