"""Every shipped strategy, composed as on the command line, makes the plan of its method.

It is checked for a ResNet and for a ViT, whose pyramid is new and trained in every phase. Nothing is trained: the
models have no storage.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import nn

from segrun.config.compose import compose
from segrun.config.options import option_names
from segrun.errors import RequestError
from segrun.experiment.experiment import Experiment, ModelSettings
from segrun.experiment.model import new_model
from segrun.experiment.plan import make_plan
from segrun.experiment.validate import validate
from segrun.models.backbones.backbone import Weightless
from segrun.models.segmenter import Segmenter
from segrun.models.weights.report import LoadReport
from segrun.transfer.plan import PartSettings, Plan
from segrun.transfer.strategies.auto_rgn import relative_gradient_norms

EPOCHS = 20
QUARTER = 5
STAGES = {
    "resnet18": ("stem", "layer1", "layer2", "layer3", "layer4"),
    "vit_b_16": ("stem", *(f"block{i}" for i in range(1, 13))),
}
NEW = {"resnet18": ("head.mask",), "vit_b_16": ("pyramid", "head.mask")}
Values = Mapping[str, Any]
Stages = tuple[str, ...]


@functools.cache
def composed(*words: str) -> Values:
    small = ["backbone=resnet18", "backbone.weights=none", "head=fcn", f"trainer.epochs={EPOCHS}"]
    values: Values = compose("train", [*words, *small])
    return values


@functools.cache
def model_settings(backbone: str) -> ModelSettings:
    words = [f"backbone={backbone}", "backbone.weights=none", f"head={'fpn' if backbone == 'vit_b_16' else 'fcn'}"]
    return ModelSettings.from_config(compose("describe", words))


@functools.cache
def new(backbone: str, auxiliary: tuple[str, ...], loaded: bool) -> Segmenter:
    """A model without storage; `loaded`: its pretrained backbone is reported as loaded."""
    tasks = {}
    if auxiliary:
        experiment = Experiment.from_config(composed("strategy=multitask"))
        tasks = {name: task(image_labels={}) for name, task in experiment.auxiliary.items()}
    assert tuple(tasks) == auxiliary
    with Weightless():
        model = new_model(model_settings(backbone), 2, auxiliary=tasks)
    if loaded:
        names = (n for n in model.backbone.state_dict() if not n.startswith("pyramid."))
        model.report = LoadReport("x", loaded=tuple(names)).prefixed("backbone.")
    return model


def planned(values: Values, backbone: str = "resnet18", loaded: bool = True) -> tuple[Plan, Segmenter]:
    experiment = Experiment.from_config(values)
    model = copy.deepcopy(new(backbone, tuple(experiment.auxiliary), loaded))
    experiment.strategy.adapt(model)
    return make_plan(experiment, model), model


def everything(name: str, owner: nn.Module) -> bool:
    return True


def bias(name: str, owner: nn.Module) -> bool:
    return name.endswith("bias")


def norm(name: str, owner: nn.Module) -> bool:
    return isinstance(owner, (nn.BatchNorm2d, nn.LayerNorm))


def no_norm(name: str, owner: nn.Module) -> bool:
    return not norm(name, owner)


def update(name: str, owner: nn.Module) -> bool:
    return ".parametrizations." in name and not name.endswith(".original")


def beside(name: str, owner: nn.Module) -> bool:
    return ".adapter." in name


@dataclass(frozen=True)
class Row:
    """A phase as its method describes it.

    Attributes:
        stages: LR multipliers of the trained stages of the backbone.
        new: LR multiplier of all new parts.
        which: Whether a parameter of these stages is trained.
    """

    name: str
    epochs: int
    stages: Mapping[str, float] = field(default_factory=dict)
    new: float = 1.0
    which: Callable[[str, nn.Module], bool] = everything
    statistics: bool = True
    regularizers: tuple[str, ...] = ()
    schedule: str = "continue"
    keep_weights: bool = False
    lr_multipliers: Any = None


def full(stages: Stages, lr_multiplier: float, **rest: Any) -> Row:
    return Row("all", EPOCHS, dict.fromkeys(stages, lr_multiplier), **rest)


def head_first(
    stages: Stages, keep_weights: bool = False, schedule: str = "continue", regularizers: tuple[str, ...] = ()
) -> list[Row]:
    first = Row("heads", QUARTER, schedule=schedule, keep_weights=keep_weights)
    rest = dict.fromkeys(stages, 0.4)
    return [
        first,
        Row("all", EPOCHS - QUARTER, rest, schedule=schedule, keep_weights=keep_weights, regularizers=regularizers),
    ]


def powers(stages: Stages, factor: float) -> dict[str, float]:
    """The head has factor^0, and each stage below one factor more."""
    return {stage: factor ** (len(stages) - index) for index, stage in enumerate(stages)}


def gradual(stages: Stages) -> list[Row]:
    multipliers = powers(stages, 1 / 2.6)
    steps = [{stage: multipliers[stage] for stage in stages[len(stages) - count :]} for count in range(len(stages) + 1)]
    names = ["heads", *(f"from {next(iter(step))}" for step in steps[1:-1]), "all"]
    epochs = [*[1] * len(stages), EPOCHS - len(stages)]
    return [Row(name, number, step) for name, number, step in zip(names, epochs, steps, strict=True)]


def fastai(stages: Stages) -> list[Row]:
    spread = {stage: 0.5 * 100 ** -(1 - index / len(stages)) for index, stage in enumerate(stages)}
    later = Row("all", EPOCHS - 1, spread, new=0.5, schedule="restart")
    assert later.stages["stem"] == pytest.approx(0.5 / 100)
    with_norms = {
        stage: 2 * multiplier for stage, multiplier in spread.items() if stage != "stem" or "layer1" in stages
    }
    return [Row("heads", 1, with_norms, which=norm, schedule="restart"), later]


EXPECTED: dict[str, Callable[[Stages], list[Row]]] = {
    "adaptformer": lambda s: [full(s[1:], 1.0, which=beside, statistics=False)],  # no MLP in the stem
    "auto_rgn": lambda s: [full(s, 1.0, which=no_norm, lr_multipliers=relative_gradient_norms)],
    "bitfit": lambda s: [full(s, 1.0, which=bias, statistics=False)],
    "bss": lambda s: [full(s, 0.4, regularizers=("bss",))],
    # of a ViT just the patch embedding is a convolution
    "conv_adapter": lambda s: [full(s[: None if "layer1" in s else 1], 1.0, which=beside, statistics=False)],
    "delta": lambda s: head_first(s, regularizers=("delta",)),
    "discriminative": lambda s: [Row("all", EPOCHS, powers(s, 1 / 2.6))],
    "distill": lambda s: head_first(s, regularizers=("distill",)),
    "fastai": fastai,
    "feature_extraction": lambda s: [Row("heads", EPOCHS)],
    "finetune": lambda s: [full(s, 0.4)],
    "gradual": gradual,
    "l2sp": lambda s: [full(s, 0.4, regularizers=("l2sp",))],
    "layer_decay": lambda s: [Row("all", EPOCHS, powers(s, 0.9))],
    "lora": lambda s: [full(s, 1.0, which=update, statistics=False)],
    "lp_ft": lambda s: head_first(s, schedule="restart"),
    "multitask": lambda s: [full(s, 0.4)],
    "norms_only": lambda s: [full(s[0 if "layer1" in s else 1 :], 1.0, which=norm)],  # no norm in a ViT's stem
    "scratch": lambda s: [full(s, 1.0)],
    "ssf": lambda s: [full(s, 1.0, which=update, statistics=False)],
    "surgical": lambda s: [Row(s[1], EPOCHS, {s[1]: 0.4})],
    "wise_ft": lambda s: head_first(s, keep_weights=True, schedule="restart"),
}
ELSEWHERE: dict[str, dict[str, Any]] = {  # what a strategy chooses in other groups
    "fastai": {"schedule": {"_target_": "segrun.engine.schedules.OneCycle", "pct_start": [0.99, 0.3]}},
    "gradual": {"schedule": {"_target_": "segrun.engine.schedules.SlantedTriangle", "cut": 0.1, "ratio": 32.0}},
    "multitask": {"balance": {"_target_": "segrun.tasks.balance.uncertainty.Uncertainty"}},
    "scratch": {"backbone": {"weights": "none"}},
    "l2sp": {
        "regularizer": {"l2sp": {"_target_": "segrun.transfer.regularizers.l2sp.L2SP", "alpha": 0.1, "beta": 0.01}}
    },
    "bss": {"regularizer": {"bss": {"_target_": "segrun.transfer.regularizers.bss.BSS", "k": 1, "eta": 1e-3}}},
    "wise_ft": {"strategy": {"alphas": [0.1, 0.3, 0.5, 0.7, 0.9]}},
}
CASES = [(s, b) for s in option_names("strategy") for b in STAGES if (s, b) != ("adaptformer", "resnet18")]


def test_every_shipped_strategy_has_an_expectation() -> None:
    assert set(EXPECTED) == set(option_names("strategy"))


@pytest.mark.parametrize(("strategy", "name"), CASES)
def test_a_strategy_makes_the_plan_of_its_method(strategy: str, name: str) -> None:
    values = composed(f"strategy={strategy}")
    plan, model = planned(values, name, loaded=strategy != "scratch")
    rows = EXPECTED[strategy](STAGES[name])
    new = (*NEW[name], *(["head.boundary"] if strategy == "multitask" else []))
    parts = model.parts()
    assert tuple(parts) == (*(f"backbone.{stage}" for stage in STAGES[name]), *new)
    assert [(p.name, p.epochs, p.schedule, p.keep_weights, p.lr_multipliers) for p in plan.phases] == [
        (r.name, r.epochs, r.schedule, r.keep_weights, r.lr_multipliers) for r in rows
    ]
    assert plan.epochs == EPOCHS
    for phase, row in zip(plan.phases, rows, strict=True):
        assert tuple(r.name for r in phase.regularizers) == row.regularizers
        assert {part: phase.trainable[part] for part in phase.trainable if part not in parts.backbone} == dict.fromkeys(
            new, PartSettings(lr_multiplier=row.new)
        )
        learn = {part: settings for part, settings in phase.trainable.items() if part in parts.backbone}
        assert {part: settings.lr_multiplier for part, settings in learn.items()} == pytest.approx(
            {f"backbone.{stage}": multiplier for stage, multiplier in row.stages.items()}
        )
        assert {settings.statistics for settings in learn.values()} <= {row.statistics}
        where = {n for part in learn for p in parts[part].parameters for n in [p.name]}
        owners = {n: model.get_submodule(n.rpartition(".")[0]) for n in where}
        assert {n for n in phase.trainable_parameters(parts) if n in where} == {
            n for n in where if row.which(n, owners[n])
        }


@pytest.mark.parametrize("strategy", ELSEWHERE)
def test_a_strategy_chooses_what_belongs_to_it_in_other_groups(strategy: str) -> None:
    values = composed(f"strategy={strategy}")
    for group, chosen in ELSEWHERE[strategy].items():
        assert {key: values[group][key] for key in chosen} == chosen


def test_bitfit_on_a_resnet_is_the_norms_biases_for_it_has_no_others() -> None:
    plan, model = planned(composed("strategy=bitfit"))
    parts = model.parts()
    learning = [n for n in plan.phases[0].trainable_parameters(parts) if n.startswith("backbone.")]
    assert len(learning) == 20  # as many batch norms
    assert all(isinstance(model.get_submodule(n.removesuffix(".bias")), nn.BatchNorm2d) for n in learning)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("strategy=adaptformer", r"needs transformer blocks.*backbone=vit_b_16"),
        ("strategy=lora freeze=gradual", r"trains only the adapter parameters.*Use freeze=none"),
        ("strategy=bitfit freeze=stages", r"trains only the bias and norm_bias parameters.*Use freeze=none"),
        ("strategy=feature_extraction freeze=none", r"keeps the backbone frozen.*Use freeze=backbone"),
        ("strategy=wise_ft freeze=none", r"trains the heads alone first.*Use freeze=head_first"),
        ("strategy=lp_ft freeze=none", r"trains the heads alone first.*Use freeze=head_first"),
        ("strategy=gradual freeze=backbone", r"trains the heads alone first.*strategy=finetune"),
        ("strategy=surgical freeze=none", r"trains some parts.*Use freeze=surgical"),
        ("strategy=lora regularizer=[l2sp]", r"regularizer=l2sp: this plan trains none of the parameters"),
        (
            "strategy=feature_extraction regularizer=[l2sp]",
            r"regularizer=l2sp: this plan trains none of the parameters",
        ),
        ("strategy=delta freeze=none", r"regularizer=delta weighs channels.*Use freeze=head_first"),
        ("strategy=distill freeze=stages", r"regularizer=distill learns from .*Use freeze=head_first"),
        ("strategy=scratch", r"leave backbone\.weights at none"),
    ],
)
def test_contradictions_are_refused_with_the_way_out(words: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        planned(composed(*words.split()))


@pytest.mark.parametrize("words", ["strategy=wise_ft", "strategy=l2sp", "strategy=bss"])
def test_what_holds_on_to_pretrained_weights_is_refused_without_them(words: str) -> None:
    with pytest.raises(RequestError, match=r"nothing was loaded|none were loaded"):
        planned(composed(*words.split()), loaded=False)


def test_auxiliary_tasks_are_refused_where_no_shared_layer_is_trained() -> None:
    values = composed("strategy=multitask", "freeze=backbone")
    plan, model = planned(values)
    with pytest.raises(RequestError, match=r"auxiliary tasks help the mask through the layers.*train the backbone"):
        validate(Experiment.from_config(values), None, {}, model, plan)  # type: ignore[arg-type]  # before data is read
