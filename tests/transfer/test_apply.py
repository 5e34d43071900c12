"""A phase carried out on a real model: gradients, modes, optimizer groups, and the audit of frozen tensors."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn

from segrun.engine.optimizers import SGD, parameter_groups
from segrun.errors import SegrunError
from segrun.models.parts import Parts
from segrun.models.segmenter import Segmenter
from segrun.transfer.apply import FreezeAudit, set_modes, set_trainable
from segrun.transfer.freeze import FreezeBackbone, FreezeStages, NoFreeze
from segrun.transfer.plan import PartSettings, Phase
from segrun.transfer.strategies.finetune import Finetune
from tests.transfer.shipped import report_as_loaded, shipped_model

STRATEGY, FREEZE = Finetune(0.1), FreezeStages(2)  # stem, layer1 and layer2 are frozen


@functools.cache
def model_with_dropout(backbone: str) -> Segmenter:
    """With dropout in a frozen stage and in a trained one."""
    model = shipped_model(backbone)
    for stage in ("layer1", "layer4"):
        last = model.backbone.get_submodule(model.backbone.stages[stage][-1])
        getattr(last, "conv", last).append(nn.Dropout(0.5))
    report_as_loaded(model)
    return model


@pytest.fixture(params=["mobilenet_v2", "resnet18"])
def model(request: pytest.FixtureRequest) -> Segmenter:
    return copy.deepcopy(model_with_dropout(request.param))


def partly_frozen(parts: Parts) -> Phase:
    (phase,) = STRATEGY.plan(parts, FREEZE, 1).check(parts).phases
    return phase


def modules_of(model: Segmenter, names: tuple[str, ...]) -> list[nn.Module]:
    parts = model.parts()
    return [m for name in names for path in parts[name].modules for m in model.get_submodule(path).modules()]


def train(model: Segmenter, parts: Parts, phase: Phase, steps: int = 2, decay: float = 0.1) -> None:
    """As the training loop does it, with a weight decay that would shrink every parameter that it reaches."""
    learning = set_trainable(model, parts, phase)
    optimizer = SGD(0.1, decay, 0.9, False)(
        parameter_groups(model, learning, SGD(0.1, decay, 0.9, False), decay_1d=True)
    )
    set_modes(model, parts, phase)
    for _ in range(steps):
        model(torch.rand(4, 3, 64, 64)).tasks["mask"].square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_just_the_phases_parameters_have_gradients(model: Segmenter) -> None:
    parts = model.parts()
    phase = partly_frozen(parts)
    learning = set_trainable(model, parts, phase)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(learning)
    model(torch.rand(2, 3, 64, 64)).tasks["mask"].sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(learning)


def test_the_next_phase_frees_again_and_drops_old_gradients(model: Segmenter) -> None:
    parts = model.parts()
    set_trainable(model, parts, Phase("all", 1, {name: PartSettings() for name in parts}))
    model(torch.rand(2, 3, 64, 64)).tasks["mask"].sum().backward()
    set_trainable(model, parts, Phase("heads", 1, {"head.mask": PartSettings()}))
    assert all(p.grad is None for p in model.parameters())
    assert not any(p.requires_grad for p in model.backbone.parameters())
    set_trainable(model, parts, Phase("all", 1, {name: PartSettings() for name in parts}))
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_parts_are_in_eval_mode_and_the_others_train_also_after_an_evaluation(model: Segmenter) -> None:
    parts = model.parts()
    phase = partly_frozen(parts)
    frozen = tuple(name for name in parts if name not in phase.trainable)
    for _ in range(2):
        set_modes(model, parts, phase)
        assert not any(m.training for m in modules_of(model, frozen))
        assert all(m.training for m in modules_of(model, tuple(phase.trainable)))
        model.eval()
        assert not any(m.training for m in model.modules())


def test_frozen_norms_and_dropout_give_the_same_map_twice_while_training(model: Segmenter) -> None:
    parts = model.parts()
    set_modes(model, parts, partly_frozen(parts))
    images = torch.rand(4, 3, 64, 64)
    first, second = model(images).features, model(images).features
    assert torch.equal(first[2], second[2])
    assert not torch.equal(first[4], second[4])


def test_norms_with_frozen_statistics_are_in_eval_mode_and_still_learn(model: Segmenter) -> None:
    parts = model.parts()
    phase = Phase("norm_eval", 1, {name: PartSettings(statistics=not name.startswith("backbone.")) for name in parts})
    assert set(set_trainable(model, parts, phase)) == {name for name, _ in model.named_parameters()}
    set_modes(model, parts, phase)
    inside = modules_of(model, parts.backbone)
    assert not any(m.training for m in inside if isinstance(m, nn.BatchNorm2d))
    assert all(m.training for m in inside if isinstance(m, nn.Dropout))
    assert all(m.training for m in modules_of(model, ("head.mask",)))
    audit = FreezeAudit(model, parts, phase)
    train(model, parts, phase, steps=1)
    audit.check()


def test_training_leaves_everything_frozen_bit_for_bit(model: Segmenter) -> None:
    parts = model.parts()
    phase = partly_frozen(parts)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    audit = FreezeAudit(model, parts, phase)
    train(model, parts, phase)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    frozen = tuple(path for name in parts if name not in phase.trainable for path in parts[name].modules)
    assert not [
        name for name in changed if name.startswith(tuple(f"{path}." for path in frozen)) or name in ("mean", "std")
    ]
    assert changed == {name for name in before if name.startswith(tuple(
        f"{path}." for name in phase.trainable for path in parts[name].modules))}  # fmt: skip
    assert audit.check() == len(before) - len(changed)


def test_the_audit_names_a_changed_frozen_parameter(model: Segmenter) -> None:
    parts = model.parts()
    audit = FreezeAudit(model, parts, partly_frozen(parts))
    name = parts["backbone.stem"].parameters[0].name
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] += 1e-6
    with pytest.raises(SegrunError, match=rf"1 tensors changed in phase 'from layer3' although frozen: {name}"):
        audit.check()


def test_the_audit_names_frozen_statistics_that_moved(model: Segmenter) -> None:
    parts = model.parts()
    phase = Phase("heads", 1, {"head.mask": PartSettings()})
    set_trainable(model, parts, phase)
    audit = FreezeAudit(model, parts, phase)
    model.train()  # the mistake: gradients frozen, statistics not
    model(torch.rand(2, 3, 64, 64))
    with pytest.raises(SegrunError, match=r"running_mean|running_var|num_batches_tracked"):
        audit.check()


@pytest.mark.parametrize("buffer", ["mean", "std"])
def test_the_audit_watches_the_normalisation_in_every_phase(model: Segmenter, buffer: str) -> None:
    parts = model.parts()
    audit = FreezeAudit(model, parts, Phase("all", 1, {name: PartSettings() for name in parts}))
    model.get_buffer(buffer)[:] += 0.1
    with pytest.raises(SegrunError, match=f"although frozen: {buffer}"):
        audit.check()


def test_nan_that_was_there_passes_the_audit_and_nan_that_came_does_not(model: Segmenter) -> None:
    parts = model.parts()
    phase = partly_frozen(parts)
    name = next(name for name in model.state_dict() if name.endswith("running_mean"))
    model.get_buffer(name)[0] = torch.nan
    audit = FreezeAudit(model, parts, phase)
    audit.check()
    model.get_buffer(name)[1] = torch.nan  # from exactly zero
    with pytest.raises(SegrunError, match=name):
        audit.check()


@pytest.mark.parametrize("freeze", [NoFreeze(), FreezeBackbone(None), FreezeBackbone(1), FreezeStages(0)])
def test_every_learning_parameter_is_in_one_group_and_no_frozen_one_in_any(model: Segmenter, freeze: NoFreeze) -> None:
    parts = model.parts()
    for phase in Finetune(0.1).plan(parts, freeze, 3).phases:
        learning = set_trainable(model, parts, phase)
        groups = parameter_groups(model, learning, SGD(0.1, 1e-4, 0.9, False), decay_1d=False)
        inside = [id(p) for group in groups for p in group["params"]]
        assert len(inside) == len(set(inside))
        assert set(inside) == {id(p) for p in model.parameters() if p.requires_grad}
        assert {name for group in groups for name in group["names"]} == set(learning)
