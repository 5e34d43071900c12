"""Adapters: a start at the pretrained model, formulas of their own to compare with, an exact merge, and kinds."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer
from torchvision.models.swin_transformer import SwinTransformer

from segrun.config.build import build
from segrun.config.compose import compose, to_dict
from segrun.errors import RequestError
from segrun.experiment import assemble
from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.parts import plain
from segrun.models.segmenter import Segmenter
from segrun.models.weights.loading import LoadReport
from segrun.transfer.adapters.branches import AdaptFormer, ConvAdapter, ConvBranch
from segrun.transfer.adapters.lora import SSF, LoRA
from segrun.transfer.apply import set_modes, set_trainable
from segrun.transfer.freeze import NoFreeze
from segrun.transfer.strategies.finetune import Finetune

LORA = LoRA(rank=4, alpha=8, where=["*"], backbone_lr=1.0)
MERGED = [LORA, SSF(1.0)]
CONV = ConvAdapter(reduction=4, backbone_lr=1.0)
FORMER = AdaptFormer(bottleneck=4, scale=0.1, backbone_lr=1.0)


class Tokens(Backbone):
    """A transformer of torchvision, tiny: one map at stride 16 or 8, and a fresh layer behind it."""

    def __init__(self, body: nn.Module, stride: int) -> None:
        super().__init__()
        self.body, self.pyramid = body, nn.Conv2d(16, 16, 3, padding=1)
        self.stages, self.fresh, self.levels = {"stem": ["body"]}, {"pyramid": ["pyramid"]}, (Level(16, stride),)

    def forward(self, images: Tensor) -> list[Tensor]:
        body: Any = self.body
        if isinstance(body, SwinTransformer):
            return [self.pyramid(body.features(images).permute(0, 3, 1, 2))]
        patches = torch.cat((body.class_token.expand(len(images), -1, -1), body._process_input(images)), 1)
        return [self.pyramid(body.encoder(patches)[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))]


@functools.cache
def built(name: str) -> Segmenter:
    torch.manual_seed(0)
    if name == "vit":
        vit = VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
        made = Segmenter(Tokens(vit, 16), {"mask": Last()})
        del vit.heads
    elif name == "swin":
        swin = SwinTransformer([4, 4], 16, [2], [2], [4, 4])
        made = Segmenter(Tokens(swin, 4), {"mask": Last()})
        del swin.norm, swin.head
    else:
        words = [f"backbone={name}", "backbone.weights=none", "head=fcn", "head.channels=8"]
        made = assemble.segmenter(to_dict(compose("train", words)), 2)
        made.backbone.dilate(8)
    made.report = LoadReport("x", loaded=tuple(made.backbone.state_dict())).prefixed("backbone.")
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    scores(made)  # with the statistics of a trained network the scores are no vanishing numbers
    return made.eval()


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Conv2d(16, 2, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        scores: Tensor = self.output(features[-1])
        return scores


def model(name: str, dtype: torch.dtype = torch.float32) -> Segmenter:
    return copy.deepcopy(built(name)).to(dtype)


def scores(of: Segmenter, dtype: torch.dtype = torch.float32) -> Tensor:
    images = torch.rand(2, 3, 64, 64, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return of(images).tasks["mask"]


def adapted(name: str, strategy: Finetune, dtype: torch.dtype = torch.float32) -> Segmenter:
    made = model(name, dtype)
    strategy.adapt(made)
    return made


def stirred(name: str, strategy: Finetune, dtype: torch.dtype = torch.float32) -> Segmenter:
    """As after training: no adapter is at its start."""
    made = adapted(name, strategy, dtype)
    kinds = {p.name: p.kind for part in made.parts().values() for p in part.parameters}
    with torch.no_grad():
        for parameter_name, parameter in made.named_parameters():
            if kinds[parameter_name] == "adapter":
                parameter.add_(0.05 * torch.randn_like(parameter))
    return made


CASES = [
    *((name, LORA) for name in ("resnet18", "mobilenet_v2", "vit", "swin")),
    *((name, CONV) for name in ("resnet18", "mobilenet_v2")),
    *((name, FORMER) for name in ("vit", "swin")),
]
WITH_SSF = [*CASES, ("mobilenet_v2", SSF(1.0)), ("vit", SSF(1.0)), ("swin", SSF(1.0))]


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_the_start_is_the_pretrained_model_and_what_has_learnt_is_not(name: str, strategy: Finetune) -> None:
    before = scores(model(name))
    torch.testing.assert_close(scores(adapted(name, strategy)), before, rtol=0, atol=1e-6)
    assert (scores(stirred(name, strategy)) - before).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "strategy"), WITH_SSF)
def test_every_parameter_keeps_its_kind_and_its_part_and_the_new_are_the_adapters(
    name: str, strategy: Finetune
) -> None:
    made = adapted(name, strategy)
    before = {p.name: (part.name, p) for part in model(name).parts().values() for p in part.parameters}
    after = {p.name: (part.name, p) for part in made.parts().values() for p in part.parameters}
    assert set(after) == {n for n, _ in made.named_parameters()}
    old = {n: where for n, where in after.items() if plain(n) in before}
    assert {plain(n): (part, p.kind, p.loaded) for n, (part, p) in old.items()} == {
        n: (part, p.kind, p.loaded) for n, (part, p) in before.items()
    }
    new = [(n, part, p.kind) for n, (part, p) in after.items() if n not in old]
    assert new and all(kind == "adapter" and part.startswith("backbone.") for _, part, kind in new)
    assert not any("pyramid" in n for n, _, _ in new)  # fresh: learns in full


@pytest.mark.parametrize(("name", "strategy"), WITH_SSF)
def test_just_adapters_and_what_is_fresh_have_gradients(name: str, strategy: Finetune) -> None:
    made = stirred(name, strategy)
    parts = made.parts()
    (phase,) = strategy.plan(parts, NoFreeze(), 1).check(parts).phases
    set_trainable(made, parts, phase)
    set_modes(made, parts, phase)
    assert not any(m.training for m in made.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    scores(made).square().sum().backward()
    fresh = {p.name for part in parts.values() if part.name not in parts.backbone for p in part.parameters}
    kinds = {p.name: p.kind for part in parts.values() for p in part.parameters}
    assert {n for n, p in made.named_parameters() if p.grad is not None} == fresh | {
        n for n, kind in kinds.items() if kind == "adapter"
    }


@pytest.mark.parametrize(("name", "strategy"), WITH_SSF)
def test_a_copy_and_a_model_loaded_from_the_state_give_the_same_and_share_nothing(
    name: str, strategy: Finetune
) -> None:
    made = stirred(name, strategy)
    expected = scores(made)
    twin, loaded = copy.deepcopy(made), adapted(name, strategy)
    loaded.load_state_dict(made.state_dict())
    assert torch.equal(scores(twin), expected)
    assert torch.equal(scores(loaded), expected)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert torch.equal(scores(twin), expected)
    names = {n for n, _ in made.named_parameters()}
    assert len({v.data_ptr() for n, v in made.state_dict().items() if n in names}) == len(names)
    assert names == {n for n, _ in made.named_parameters(remove_duplicate=False)}  # γ has one name


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("strategy", MERGED)
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit", "swin"])
def test_merged_is_the_same_function_under_the_plain_models_names(
    name: str, strategy: Finetune, dtype: torch.dtype, near: float
) -> None:
    made = stirred(name, strategy, dtype)
    merged = copy.deepcopy(made)
    strategy.export(merged)
    assert made.state_dict().keys() != merged.state_dict().keys()  # and the model that goes on learning still works:
    assert set(merged.state_dict()) == set(model(name).state_dict())
    assert {n: type(m) for n, m in merged.named_modules()} == {n: type(m) for n, m in model(name).named_modules()}
    for expected in (
        scores(made, dtype),
        torch.no_grad()(scores)(made, dtype),
    ):  # without gradients, attention's fast path
        torch.testing.assert_close(scores(merged, dtype), expected, rtol=near, atol=near)
    bare = model(name, dtype)
    bare.load_state_dict(merged.state_dict())
    assert torch.equal(scores(bare, dtype), scores(merged, dtype))


@pytest.mark.parametrize("strategy", MERGED)
def test_in_half_precision_the_merged_model_is_the_same_too(strategy: Finetune) -> None:
    made = stirred("vit", strategy)
    merged = copy.deepcopy(made)
    strategy.export(merged)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(scores(merged), scores(made), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "strategy"), [("mobilenet_v2", LORA), ("vit", MERGED[1]), ("resnet18", CONV)])
def test_models_that_are_only_counted_are_adapted_too(name: str, strategy: Finetune) -> None:
    made = model(name).to("meta")
    strategy.adapt(made)
    assert {p.device.type for p in made.parameters()} == {"meta"}
    assert made.parts().keys() == model(name).parts().keys()


@pytest.mark.parametrize("strategy", [CONV, FORMER])
def test_what_cannot_be_merged_stays(strategy: Finetune) -> None:
    made = stirred("vit", strategy)
    before = made.state_dict()
    strategy.export(made)
    assert list(made.state_dict()) == list(before) and any(".adapter." in name for name in before)


GEOMETRIES = [
    {},
    {"stride": 2, "padding": 1},
    {"dilation": 4, "padding": 4},
    {"groups": 4, "bias": False},
    {"groups": 8, "padding": 2, "dilation": 2, "stride": 2},
    {"kernel_size": (3, 1), "padding": (1, 0)},
    {"padding": "same", "dilation": 3},
]


class One(Backbone):
    """A single layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.stages, self.levels = layer, {"stem": ["layer"]}, (Level(1, 1),)


def one(layer: nn.Module, strategy: Finetune) -> nn.Module:
    made = Segmenter(One(layer), {}).double()
    strategy.adapt(made)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ("parametrizations" in name and not name.endswith("original")) or ".adapter." in name:
                parameter.copy_(torch.randn_like(parameter))
    return made.backbone.layer


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_lora_on_a_convolution_is_a_second_convolution_beside_it(geometry: dict[str, Any]) -> None:
    kept = nn.Conv2d(8, 16, **{"kernel_size": 3, **geometry}).double()
    layer: Any = one(copy.deepcopy(kept), LoRA(3, 6.0, "*", 1.0))
    images = torch.randn(2, 8, 17, 20, dtype=torch.float64)
    update = layer.parametrizations.weight[0]
    delta = torch.einsum("or,rn->on", update.B, update.A).reshape(kept.weight.shape)
    where = (kept.stride, kept.padding, kept.dilation, kept.groups)
    expected = kept(images) + 6.0 / 3 * F.conv2d(images, delta, None, *where)
    torch.testing.assert_close(layer(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_ssf_on_a_convolution_scales_and_shifts_what_it_gives(geometry: dict[str, Any]) -> None:
    kept = nn.Conv2d(8, 16, **{"kernel_size": 3, **geometry}).double()
    layer: Any = one(copy.deepcopy(kept), SSF(1.0))
    images = torch.randn(2, 8, 17, 20, dtype=torch.float64)
    gamma = layer.parametrizations.weight[0].gamma
    beta = layer.parametrizations.bias[0].beta if kept.bias is not None else torch.zeros(16)
    expected = torch.einsum("c,bchw->bchw", gamma, kept(images)) + beta[:, None, None]
    torch.testing.assert_close(layer(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kept", [nn.Linear(8, 16), nn.LayerNorm(8), nn.RMSNorm(8)])
def test_ssf_on_linear_layers_and_norms_does_the_same(kept: nn.Module) -> None:
    kept = kept.double()
    layer: Any = one(copy.deepcopy(kept), SSF(1.0))
    tokens = torch.randn(2, 5, 8, dtype=torch.float64)
    beta = layer.parametrizations.bias[0].beta if "bias" in layer.parametrizations else 0.0
    expected = kept(tokens) * layer.parametrizations.weight[0].gamma + beta
    torch.testing.assert_close(layer(tokens), expected, rtol=1e-10, atol=1e-10)


def test_ssf_starts_near_the_pretrained_model() -> None:
    made: Any = adapted("mobilenet_v2", SSF(1.0))
    adapters = dict(made.named_parameters())
    for word, mean in (("gamma", 1), ("beta", 0)):
        values = torch.cat([p.flatten() for n, p in adapters.items() if n.endswith(word)])
        assert values.mean().item() == pytest.approx(mean, abs=0.002)
        assert values.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_convolution_beside_another_fits_it(geometry: dict[str, Any]) -> None:
    kept = nn.Conv2d(8, 16, **{"kernel_size": 3, **geometry}).double()
    layer: Any = one(copy.deepcopy(kept), ConvAdapter(2, 1.0))
    images = torch.randn(2, 8, 17, 20, dtype=torch.float64)
    branch: ConvBranch = layer.adapter
    hidden = F.conv2d(images, branch.depthwise.weight, None, kept.stride, kept.padding, kept.dilation, groups=4)
    added = torch.einsum("oc,bchw->bohw", branch.pointwise.weight[:, :, 0, 0], hidden.relu())
    expected = kept(images) + branch.scale[:, None, None] * added
    torch.testing.assert_close(layer(images), expected, rtol=1e-10, atol=1e-10)


def test_the_bottleneck_is_given_what_the_mlp_is_given() -> None:
    made: Any = stirred("vit", FORMER)
    block = made.backbone.body.encoder.layers[0]
    tokens = torch.randn(2, 5, 16)
    after_attention = tokens + block.self_attention(*[block.ln_1(tokens)] * 3)[0]
    inside = block.ln_2(after_attention)
    mlp = F.linear(
        F.gelu(F.linear(inside, block.mlp[0].weight, block.mlp[0].bias)), block.mlp[3].weight, block.mlp[3].bias
    )
    branch = block.adapter
    expected = after_attention + mlp + 0.1 * branch.up(branch.down(inside).clamp(min=0))
    torch.testing.assert_close(block(tokens), expected)


def test_all_of_it_works_on_timms_networks() -> None:
    pytest.importorskip("timm", reason="extra timm")
    for name, strategies in (
        ("tf_efficientnet_lite0", [LORA, CONV]),  # pads by the image's size
        ("vit_tiny_patch16_224", [LORA, SSF(1.0), FORMER]),
    ):
        words = ["backbone=timm", f"backbone.name={name}", "backbone.weights=none", "head=fcn"]
        made = assemble.segmenter(to_dict(compose("train", words)), 2).eval()
        for strategy in strategies:
            once = copy.deepcopy(made)
            strategy.adapt(once)
            if not isinstance(strategy, SSF):
                torch.testing.assert_close(scores(once), scores(made), rtol=0, atol=1e-5)
            assert {p.kind for part in once.parts().values() for p in part.parameters} >= {"adapter"}


def test_the_rank_is_capped_where_a_side_is_smaller_and_that_is_said() -> None:
    made = model("mobilenet_v2")
    (kernels, narrow) = LoRA(16, 16, ["*"], 1.0).adapt(made)[:1], model("resnet18")
    assert kernels == [
        "LoRA: rank capped at 9 of 16 in 17 weights whose smaller side that is "
        "(body.features.1.conv.0.0, body.features.2.conv.1.0 and 15 more)"
    ]
    ranks = [p.shape[0] for n, p in made.named_parameters() if n.endswith(".A")]
    assert sorted(set(ranks)) == [9, 16] and ranks.count(9) == 17
    assert LORA.adapt(narrow) == []


def test_where_chooses_layers() -> None:
    made = adapted("resnet18", LoRA(2, 2, ["*layer4*conv2", "body.conv1"], 1.0))
    assert [n for n, _ in made.named_parameters() if n.endswith(".A")] == [
        f"backbone.body.{path}.parametrizations.weight.0.A" for path in ("conv1", "layer4.0.conv2", "layer4.1.conv2")
    ]


@pytest.mark.parametrize("where", [["layer9*"], ["*", "body.layer4.0.bn1"], "conv1", []])
def test_a_glob_without_a_layer_is_refused_with_names_that_there_are(where: list[str]) -> None:
    with pytest.raises(RequestError, match=r"strategy\.where: '.*' matches no .*body\.conv1, body\.layer1\.0\.conv1"):
        LoRA(2, 2, where, 1.0).adapt(model("resnet18"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: LoRA(0, 8, ["*"], 1.0), r"strategy\.rank=0: at least 1"),
        (lambda: LoRA(8, 0.0, ["*"], 1.0), r"strategy\.alpha=0\.0: above 0"),
        (lambda: ConvAdapter(0, 1.0), r"strategy\.reduction=0: at least 1"),
        (lambda: AdaptFormer(0, 0.1, 1.0), r"strategy\.bottleneck=0: at least 1"),
        (lambda: AdaptFormer(64, 0.0, 1.0), r"strategy\.scale=0\.0: above 0"),
        (lambda: FORMER.adapt(model("resnet18")), r"transformer blocks.*strategy=lora or strategy=conv_adapter"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        wrong()


def test_a_network_without_kernels_is_refused_by_the_convolution_beside_them() -> None:
    with pytest.raises(RequestError, match=r"no convolution beyond 1×1\. Use strategy=lora"):
        one(nn.Linear(2, 2), CONV)


@pytest.mark.parametrize("name", ["lora", "ssf", "conv_adapter", "adaptformer"])
def test_the_shipped_settings_build(name: str) -> None:
    values = to_dict(compose("train", [f"strategy={name}"]))
    strategy = build(values["strategy"], "strategy")
    assert strategy.kinds == {"adapter"} and not strategy.statistics
