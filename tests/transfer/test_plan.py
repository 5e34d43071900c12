"""Plans: what learns in a phase, and what is refused before anything is trained."""

from __future__ import annotations

import pytest

from segrun.errors import RequestError
from segrun.models.parts import Parameter, Part, Parts
from segrun.transfer.plan import PartSettings, Phase, Plan


def parts(stem: bool = True, deep: bool = True, fresh_norm: bool = False) -> Parts:
    """Two backbone parts, loaded or not, and a head."""

    def part(name: str, loaded: bool) -> Part:
        weight = Parameter(f"{name}.conv.weight", "weight", 90, loaded)
        norm = Parameter(f"{name}.norm.weight", "norm_weight", 10, loaded and not fresh_norm)
        return Part(name, (weight, norm, Parameter(f"{name}.conv.bias", "bias", 10, loaded)), (name,))

    return Parts([part("backbone.stem", stem), part("backbone.deep", deep), part("head.mask", False)])


ALL = {name: PartSettings() for name in parts()}
HEAD = {"head.mask": PartSettings()}


def test_a_phase_says_how_each_parameter_learns() -> None:
    slow = PartSettings(lr_multiplier=0.1)
    learning = Phase("x", 1, {"backbone.deep": slow, "head.mask": PartSettings()}).trainable_parameters(parts())
    assert set(learning) == {
        f"{p}.{n}" for p in ("backbone.deep", "head.mask") for n in ("conv.weight", "norm.weight", "conv.bias")
    }
    assert learning["backbone.deep.conv.weight"] == slow
    assert learning["head.mask.conv.weight"] == PartSettings()


def test_kinds_choose_among_a_parts_parameters() -> None:
    phase = Phase("bitfit", 1, {"backbone.deep": PartSettings(kinds=frozenset(["bias", "norm_weight"]))})
    assert set(phase.trainable_parameters(parts())) == {"backbone.deep.norm.weight", "backbone.deep.conv.bias"}


def test_epochs_add_up_over_phases() -> None:
    assert Plan((Phase("a", 2, HEAD), Phase("b", 3, ALL))).epochs == 5


@pytest.mark.parametrize("phases", [[HEAD], [ALL], [HEAD, ALL]])
def test_a_plan_over_loaded_weights_passes(phases: list[dict[str, PartSettings]]) -> None:
    plan = Plan(tuple(Phase(str(i), 1, learn) for i, learn in enumerate(phases)))
    assert plan.check(parts()) is plan


def test_an_unknown_part_is_named_with_those_there_are() -> None:
    with pytest.raises(RequestError, match=r"the plan names head\.depth.*backbone\.stem, backbone\.deep, head\.mask"):
        Plan((Phase("x", 1, {**ALL, "head.depth": PartSettings()}),)).check(parts())


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_phase_without_epochs_is_refused(epochs: int) -> None:
    with pytest.raises(RequestError, match=rf"phase 'warm' has {epochs} epochs"):
        Plan((Phase("warm", epochs, ALL),)).check(parts())


@pytest.mark.parametrize("learn", [{}, {"head.mask": PartSettings(kinds=frozenset(["token"]))}])
def test_a_phase_in_which_nothing_learns_is_refused(learn: dict[str, PartSettings]) -> None:
    with pytest.raises(RequestError, match="phase 'idle' trains no parameter"):
        Plan((Phase("idle", 1, learn),)).check(parts())


def test_freezing_a_part_that_was_never_loaded_is_refused_by_name() -> None:
    with pytest.raises(
        RequestError, match=r"freezes 3 tensors of backbone\.deep that were never loaded.*backbone\.deep\.conv\.weight"
    ):
        Plan((Phase("heads", 1, HEAD),)).check(parts(deep=False))


def test_freezing_the_few_tensors_that_the_file_lacked_is_refused() -> None:
    with pytest.raises(
        RequestError,
        match=r"freezes 1 tensors of backbone\.stem that were never loaded \(backbone\.stem\.norm\.weight\)",
    ):
        Plan((Phase("heads", 1, HEAD),)).check(parts(fresh_norm=True))


def test_freezing_a_fresh_head_is_refused() -> None:
    with pytest.raises(RequestError, match=r"freezes 3 tensors of head\.mask"):
        Plan((Phase("x", 1, {name: PartSettings() for name in parts().backbone}),)).check(parts())


def test_what_has_learnt_before_may_be_frozen_later_but_not_the_other_way_round() -> None:
    first, second = Phase("all", 1, ALL), Phase("deep", 1, {"backbone.deep": PartSettings()})
    Plan((first, second)).check(parts(stem=False))
    with pytest.raises(RequestError, match=r"phase 'deep' freezes 3 tensors of backbone\.stem"):
        Plan((second, first)).check(parts(stem=False))
