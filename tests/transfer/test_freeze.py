"""Freeze schedules: from names of parts to freeze steps."""

from __future__ import annotations

from typing import Any

import pytest

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.models.parts import Kind, Parameter, Part, Parts
from segrun.transfer.freeze import (
    FreezeBackbone,
    FreezeSchedule,
    FreezeStages,
    FreezeStatistics,
    FreezeStep,
    GradualUnfreeze,
    NoFreeze,
    Steps,
    Surgical,
    TrainedFrom,
)
from segrun.transfer.strategies.finetune import Finetune

NAMES = ("backbone.stem", "backbone.layer1", "backbone.layer2", "head.mask", "head.boundary")
BACKBONE = frozenset(NAMES[:3])
KINDS: tuple[Kind, ...] = ("weight", "norm_weight", "norm_bias")
PARTS = Parts(Part(name, tuple(Parameter(f"{name}.{k}", k, 9, True) for k in KINDS), (name,)) for name in NAMES)


def test_none_freezes_nothing() -> None:
    assert NoFreeze()(PARTS, 5) == (FreezeStep(5),)


def test_backbone_is_frozen_for_all_epochs() -> None:
    assert FreezeBackbone(None)(PARTS, 5) == (FreezeStep(5, BACKBONE),)


def test_backbone_is_frozen_for_the_first_epochs_only() -> None:
    assert FreezeBackbone(2)(PARTS, 5) == (FreezeStep(2, BACKBONE), FreezeStep(3))


def built(schedule: str, **settings: Any) -> FreezeSchedule:
    """As a config makes it."""
    made = build({"_target_": f"segrun.transfer.freeze.{schedule}", **settings}, "freeze")
    assert isinstance(made, FreezeSchedule)
    return made


@pytest.mark.parametrize("frozen", [5, 6])
def test_backbone_for_more_epochs_than_the_run_has_is_refused(frozen: int) -> None:
    with pytest.raises(RequestError, match=rf"freeze\.epochs={frozen}: choose 1 to 4 of the 5 epochs"):
        FreezeBackbone(frozen)(PARTS, 5)


@pytest.mark.parametrize("frozen", [0, -1, 0.0, -0.5, 1.5])
def test_backbone_for_no_epoch_is_refused(frozen: float) -> None:
    with pytest.raises(RequestError, match=rf"freeze\.epochs={frozen}: must be a whole number of at least 1"):
        built("FreezeBackbone", epochs=frozen)


@pytest.mark.parametrize("frozen", [1, 4, 0.25, None])
def test_backbone_takes_a_number_or_a_fraction_of_epochs(frozen: float | None) -> None:
    assert built("FreezeBackbone", epochs=frozen)(PARTS, 5)


@pytest.mark.parametrize(("stages", "frozen"), [(0, NAMES[:1]), (1, NAMES[:2]), (2, NAMES[:3])])
def test_stages_counts_those_after_the_stem(stages: int, frozen: tuple[str, ...]) -> None:
    assert FreezeStages(stages)(PARTS, 5) == (FreezeStep(5, frozenset(frozen)),)


def test_stages_that_the_backbone_lacks_are_refused() -> None:
    with pytest.raises(RequestError, match=r"freeze\.stages=3: this backbone has a stem and 2 stages"):
        FreezeStages(3)(PARTS, 5)
    with pytest.raises(RequestError, match=r"freeze\.stages=-1: must be a whole number of at least 0"):
        built("FreezeStages", stages=-1)


def test_gradual_unfreezes_from_the_top_one_more_part_per_step() -> None:
    assert GradualUnfreeze(2)(PARTS, 10) == (
        FreezeStep(2, frozenset(NAMES[:3])),
        FreezeStep(2, frozenset(NAMES[:2])),
        FreezeStep(2, frozenset(NAMES[:1])),
        FreezeStep(4),
    )


def test_gradual_with_too_few_epochs_names_how_many_it_needs() -> None:
    assert len(GradualUnfreeze(2)(PARTS, 7)) == 4
    with pytest.raises(RequestError, match=r"needs 7 epochs or more for 3 parts at freeze\.every=2; trainer\.epochs=6"):
        GradualUnfreeze(2)(PARTS, 6)


def test_gradual_needs_an_epoch_per_step() -> None:
    with pytest.raises(RequestError, match=r"freeze\.every=0: must be a whole number of at least 1"):
        built("GradualUnfreeze", every=0)


SCHEDULES = [
    NoFreeze(), FreezeBackbone(None), FreezeBackbone(3), FreezeBackbone(0.5), FreezeStages(1), FreezeStatistics(),
    GradualUnfreeze(1), GradualUnfreeze(2, thaw_norms=True), Surgical(0),
    Steps([TrainedFrom(0, "head.*"), TrainedFrom(4, ["*"])]),
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_steps_add_up_to_the_runs_epochs_and_never_freeze_a_head(schedule: FreezeSchedule) -> None:
    steps = schedule(PARTS, 9)
    assert sum(step.epochs for step in steps) == 9
    assert all(step.frozen <= BACKBONE for step in steps)


def test_norms_hold_the_backbones_statistics_while_everything_learns() -> None:
    schedule = FreezeStatistics()
    assert schedule(PARTS, 5) == (FreezeStep(5, frozen_statistics=BACKBONE),)
    (phase,) = Finetune(0.1).plan(PARTS, schedule, 5).phases
    assert {name: settings.statistics for name, settings in phase.trainable.items()} == {
        name: name not in BACKBONE for name in NAMES
    }
    assert len(phase.trainable_parameters(PARTS)) == 15


@pytest.mark.parametrize(
    ("block", "learning"),
    [
        (0, {"backbone.stem"}),
        (1, {"backbone.layer1"}),
        (-1, {"backbone.layer2"}),
        (-3, {"backbone.stem"}),
        ("backbone.layer1", {"backbone.layer1"}),
        ("backbone.layer[12]", {"backbone.layer1", "backbone.layer2"}),
        (["*stem", "*2"], {"backbone.stem", "backbone.layer2"}),
    ],
)
def test_surgical_lets_one_block_of_the_backbone_learn(block: int | str | list[str], learning: set[str]) -> None:
    assert Surgical(block)(PARTS, 5) == (FreezeStep(5, BACKBONE - learning),)


@pytest.mark.parametrize("block", [3, -4])
def test_surgical_on_a_block_that_the_backbone_lacks_is_refused(block: int) -> None:
    with pytest.raises(RequestError, match=rf"freeze\.block={block}: this backbone has the parts 0 to 2"):
        Surgical(block)(PARTS, 5)


@pytest.mark.parametrize("block", ["head.*", ["head.mask"], []])
def test_surgical_on_no_block_of_the_backbone_is_refused(block: str | list[str]) -> None:
    with pytest.raises(
        RequestError, match=r"freeze\.block=.*: matches none of the backbone's parts \(backbone\.stem, "
    ):
        Surgical(block)(PARTS, 5)


@pytest.mark.parametrize("block", ["layer1", ["backbone.layer1", "layer1"]])
def test_a_glob_that_matches_nothing_is_refused_with_the_parts_there_are(block: str | list[str]) -> None:
    with pytest.raises(RequestError, match=r"no part of the model matches 'layer1'.*backbone\.stem, .*head\.boundary"):
        Surgical(block)(PARTS, 5)


def test_steps_let_learn_what_their_globs_match_and_freeze_all_else() -> None:
    steps = [
        {"epoch": 0, "learn": "head.*"},
        {"epoch": 2, "learn": ["backbone.layer[2-9]", "head.mask"]},
        {"epoch": 3, "learn": ["*"]},
    ]
    assert built("Steps", steps=steps)(PARTS, 10) == (
        FreezeStep(2, BACKBONE),
        FreezeStep(1, frozenset({"backbone.stem", "backbone.layer1", "head.boundary"})),
        FreezeStep(7),
    )


@pytest.mark.parametrize("starts", [[], [1], [0, 2, 2], [0, 3, 1], [0, 5], [0, 6]])
def test_steps_that_start_late_go_back_or_pass_the_end_are_refused(starts: list[int]) -> None:
    with pytest.raises(
        RequestError, match=r"freeze\.steps: the epochs are \[.*they must start at 0 and increase, and stay below 5"
    ):
        Steps([TrainedFrom(start, ["*"]) for start in starts])(PARTS, 5)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"epoch": 0}, r"freeze\.steps\[0\]\.learn: has no value"),
        ({"epoch": 0, "learn": "*", "lr": 1}, r"freeze\.steps\[0\]\.lr: .*takes no such key\. It takes epoch, learn"),
        ({"epochs": 0, "learn": "*"}, r"freeze\.steps\[0\]\.epochs: .*takes no such key\. It takes epoch, learn"),
        (3, r"freeze\.steps=\[3\]: must be a list, each entry a mapping with the keys epoch, learn"),
        ({"epoch": 0.7, "learn": "*"}, r"freeze\.steps\[0\]\.epoch=0\.7: must be a whole number of at least 0"),
        ({"epoch": -1, "learn": "*"}, r"freeze\.steps\[0\]\.epoch=-1: must be a whole number of at least 0"),
        ({"epoch": "a", "learn": "*"}, r"freeze\.steps\[0\]\.epoch=a: must be a whole number of at least 0"),
        ({"epoch": 0, "learn": 3}, r"freeze\.steps\[0\]\.learn=3: must be "),
    ],
)
def test_steps_of_another_form_are_refused(step: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        built("Steps", steps=[step])


def test_an_empty_list_of_steps_is_refused() -> None:
    with pytest.raises(RequestError, match=r"freeze\.steps=\[\]: must be "):
        built("Steps", steps=[])


def test_steps_with_a_glob_that_matches_nothing_are_refused() -> None:
    with pytest.raises(RequestError, match=r"no part of the model matches 'layer4'.*backbone\.layer2"):
        Steps([TrainedFrom(0, ["head.*", "layer4"])])(PARTS, 5)


@pytest.mark.parametrize("statistics", [True, False])
def test_thawed_norms_of_frozen_parts_learn_and_their_weights_do_not(statistics: bool) -> None:
    plan = Finetune(0.1, statistics=statistics).plan(PARTS, GradualUnfreeze(1, thaw_norms=True), 6)
    learning = [set(phase.trainable_parameters(PARTS)) for phase in plan.phases]
    norms = {f"{name}.{kind}" for name in BACKBONE for kind in KINDS[1:]}
    weights = [f"{name}.weight" for name in NAMES]
    heads = {f"{name}.{kind}" for name in NAMES[3:] for kind in KINDS}
    assert learning == [heads | norms | set(weights[3 - count :]) for count in range(4)]
    assert {phase.trainable[name].statistics for phase in plan.phases for name in BACKBONE} == {statistics}


@pytest.mark.parametrize(
    ("share", "epochs", "first"), [(0.25, 8, 2), (0.25, 20, 5), (0.25, 7, 2), (0.25, 2, 1), (0.01, 9, 1), (0.9, 10, 9)]
)
def test_a_fraction_of_the_epochs_is_rounded_to_at_least_one(share: float, epochs: int, first: int) -> None:
    assert FreezeBackbone(share)(PARTS, epochs) == (FreezeStep(first, BACKBONE), FreezeStep(epochs - first))


@pytest.mark.parametrize(("frozen", "epochs"), [(0.9, 2), (1, 1), (0.25, 1)])
def test_what_leaves_a_phase_without_epochs_is_refused(frozen: float, epochs: int) -> None:
    with pytest.raises(RequestError, match=rf"freeze\.epochs={frozen}"):
        FreezeBackbone(frozen)(PARTS, epochs)


@pytest.mark.parametrize("schedule", [FreezeBackbone(1), FreezeBackbone(0.5), GradualUnfreeze(1)])
def test_fewer_epochs_than_phases_are_refused_with_how_many_it_takes(schedule: FreezeSchedule) -> None:
    with pytest.raises(RequestError, match=r"trainer\.epochs=2 or more|needs 4 epochs or more"):
        schedule(PARTS, 1)


def test_later_lr_multiplies_all_learning_rates_after_the_first_phase() -> None:
    plan = Finetune(0.2, later_lr=0.5).plan(PARTS, GradualUnfreeze(1), 4)
    multipliers = [
        {name: settings.lr_multiplier for name, settings in phase.trainable.items()} for phase in plan.phases
    ]
    heads = dict.fromkeys(NAMES[3:], 0.5)
    assert multipliers == [dict.fromkeys(NAMES[3:], 1.0), *(dict.fromkeys(NAMES[i:3], 0.1) | heads for i in (2, 1, 0))]


@pytest.mark.parametrize(("restart", "schedule"), [(True, "restart"), (False, "continue")])
def test_restart_restarts_the_schedule_with_every_phase(restart: bool, schedule: str) -> None:
    plan = Finetune(0.2, restart=restart).plan(PARTS, GradualUnfreeze(1), 5)
    assert [phase.schedule for phase in plan.phases] == [schedule] * 4
