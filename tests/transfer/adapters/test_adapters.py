"""What all adapters have in common: their start, their kinds, copies, and exact merging."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.models.parts import plain_name
from segrun.transfer.adapters.ssf import SSF
from segrun.transfer.apply import set_modes, set_trainable
from segrun.transfer.freeze import NoFreeze
from segrun.transfer.strategies.finetune import Finetune
from tests.transfer.adapters.models import CONV, FORMER, LORA, adapted, new_model, scores, trained
from tests.transfer.shipped import shipped_model

MERGED = [LORA, SSF(1.0)]
CASES = [
    *((name, LORA) for name in ("resnet18", "mobilenet_v2", "vit", "swin")),
    *((name, CONV) for name in ("resnet18", "mobilenet_v2")),
    *((name, FORMER) for name in ("vit", "swin")),
]
WITH_SSF = [*CASES, ("mobilenet_v2", SSF(1.0)), ("vit", SSF(1.0)), ("swin", SSF(1.0))]


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_the_start_is_the_pretrained_model_and_trained_adapters_change_it(name: str, strategy: Finetune) -> None:
    before = scores(new_model(name))
    torch.testing.assert_close(scores(adapted(name, strategy)), before, rtol=0, atol=1e-6)
    assert (scores(trained(name, strategy)) - before).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "strategy"), WITH_SSF)
def test_every_parameter_keeps_its_kind_and_its_part_and_the_new_are_the_adapters(
    name: str, strategy: Finetune
) -> None:
    model = adapted(name, strategy)
    before = {p.name: (part.name, p) for part in new_model(name).parts().values() for p in part.parameters}
    after = {p.name: (part.name, p) for part in model.parts().values() for p in part.parameters}
    assert set(after) == {n for n, _ in model.named_parameters()}
    old = {n: where for n, where in after.items() if plain_name(n) in before}
    assert {plain_name(n): (part, p.kind, p.loaded) for n, (part, p) in old.items()} == {
        n: (part, p.kind, p.loaded) for n, (part, p) in before.items()
    }
    new = [(n, part, p.kind) for n, (part, p) in after.items() if n not in old]
    assert new and all(kind == "adapter" and part.startswith("backbone.") for _, part, kind in new)
    assert not any("pyramid" in n for n, _, _ in new)  # fresh: learns in full


@pytest.mark.parametrize(("name", "strategy"), WITH_SSF)
def test_just_adapters_and_what_is_fresh_have_gradients(name: str, strategy: Finetune) -> None:
    model = trained(name, strategy)
    parts = model.parts()
    (phase,) = strategy.plan(parts, NoFreeze(), 1).check(parts).phases
    set_trainable(model, parts, phase)
    set_modes(model, parts, phase)
    assert not any(m.training for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    scores(model).square().sum().backward()
    fresh = {p.name for part in parts.values() if part.name not in parts.backbone for p in part.parameters}
    kinds = {p.name: p.kind for part in parts.values() for p in part.parameters}
    assert {n for n, p in model.named_parameters() if p.grad is not None} == fresh | {
        n for n, kind in kinds.items() if kind == "adapter"
    }


@pytest.mark.parametrize(("name", "strategy"), WITH_SSF)
def test_a_copy_and_a_model_loaded_from_the_state_give_the_same_and_share_nothing(
    name: str, strategy: Finetune
) -> None:
    model = trained(name, strategy)
    expected = scores(model)
    twin, loaded = copy.deepcopy(model), adapted(name, strategy)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(scores(twin), expected)
    assert torch.equal(scores(loaded), expected)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(scores(twin), expected)
    names = {n for n, _ in model.named_parameters()}
    assert len({v.data_ptr() for n, v in model.state_dict().items() if n in names}) == len(names)
    assert names == {n for n, _ in model.named_parameters(remove_duplicate=False)}  # γ has one name


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("strategy", MERGED)
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit", "swin"])
def test_merged_is_the_same_function_under_the_plain_models_names(
    name: str, strategy: Finetune, dtype: torch.dtype, near: float
) -> None:
    model = trained(name, strategy, dtype)
    merged = copy.deepcopy(model)
    strategy.export(merged)
    assert model.state_dict().keys() != merged.state_dict().keys()  # and the model that goes on learning still works:
    assert set(merged.state_dict()) == set(new_model(name).state_dict())
    assert {n: type(m) for n, m in merged.named_modules()} == {n: type(m) for n, m in new_model(name).named_modules()}
    for expected in (
        scores(model, dtype),
        torch.no_grad()(scores)(model, dtype),
    ):  # without gradients, attention's fast path
        torch.testing.assert_close(scores(merged, dtype), expected, rtol=near, atol=near)
    bare = new_model(name, dtype)
    bare.load_state_dict(merged.state_dict())
    assert torch.equal(scores(bare, dtype), scores(merged, dtype))


@pytest.mark.parametrize("strategy", MERGED)
def test_in_half_precision_the_merged_model_is_the_same_too(strategy: Finetune) -> None:
    model = trained("vit", strategy)
    merged = copy.deepcopy(model)
    strategy.export(merged)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(scores(merged), scores(model), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "strategy"), [("mobilenet_v2", LORA), ("vit", MERGED[1]), ("resnet18", CONV)])
def test_models_that_are_only_counted_are_adapted_too(name: str, strategy: Finetune) -> None:
    model = new_model(name).to("meta")
    strategy.adapt(model)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.parts().keys() == new_model(name).parts().keys()


@pytest.mark.parametrize("strategy", [CONV, FORMER])
def test_what_cannot_be_merged_stays(strategy: Finetune) -> None:
    model = trained("vit", strategy)
    before = model.state_dict()
    strategy.export(model)
    assert list(model.state_dict()) == list(before) and any(".adapter." in name for name in before)


def test_adapters_work_on_timms_networks() -> None:
    pytest.importorskip("timm", reason="extra timm")
    for name, strategies in (
        ("tf_efficientnet_lite0", [LORA, CONV]),  # pads by the image's size
        ("vit_tiny_patch16_224", [LORA, SSF(1.0), FORMER]),
    ):
        model = shipped_model("timm", f"backbone.name={name}").eval()
        for strategy in strategies:
            copied = copy.deepcopy(model)
            strategy.adapt(copied)
            if not isinstance(strategy, SSF):
                torch.testing.assert_close(scores(copied), scores(model), rtol=0, atol=1e-5)
            assert {p.kind for part in copied.parts().values() for p in part.parameters} >= {"adapter"}


@pytest.mark.parametrize("name", ["lora", "ssf", "conv_adapter", "adaptformer"])
def test_the_shipped_settings_build(name: str) -> None:
    values = compose("train", [f"strategy={name}"])
    strategy = build(values["strategy"], "strategy")
    assert strategy.kinds == {"adapter"} and not strategy.statistics
