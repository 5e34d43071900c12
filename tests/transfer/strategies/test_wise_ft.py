"""WiSE-FT: the weights it keeps, and the mixtures that it tries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, FreezeStages, GradualUnfreeze, NoFreeze
from segrun.transfer.strategies.wise_ft import WiseFT
from tests.transfer.strategies.parts import make_parts


def wise(*alphas: float) -> WiseFT:
    return WiseFT(0.4, alphas, restart=True)


def test_wise_ft_keeps_the_weights_of_the_head_only_phase_and_of_the_last() -> None:
    plan = wise(0.5).plan(make_parts(), FreezeBackbone(2), 8)
    assert [(phase.name, phase.keep_weights) for phase in plan.phases] == [("heads", True), ("all", True)]
    longer = wise(0.5).plan(make_parts(), GradualUnfreeze(1), 8)
    assert [phase.keep_weights for phase in longer.phases] == [True, *[False] * (len(longer.phases) - 2), True]


def test_wise_ft_tries_the_mixtures_of_its_two_models() -> None:
    rng = np.random.default_rng(0)
    start, end = ({"w": rng.normal(size=(3, 4)), "b": rng.normal(size=5)} for _ in range(2))
    kept = [{n: torch.from_numpy(v) for n, v in start.items()} | {"count": torch.tensor(3), "spare": torch.ones(1)}]
    last = {n: torch.from_numpy(v) for n, v in end.items()} | {"count": torch.tensor(7)}
    alphas = [0.0, 0.3, 0.5, 1.0]
    found = dict(wise(*alphas[:-1]).candidates([*kept, last]))  # the end itself is always tried
    assert list(found) == ["α=0", "α=0.3", "α=0.5", "α=1"]
    for alpha, mixed in zip(alphas, found.values(), strict=True):
        assert set(mixed) == {"w", "b", "count"}
        assert mixed["count"].dtype == torch.int64 and mixed["count"] == 7  # buffers of whole numbers are the end's
        for name in start:
            np.testing.assert_allclose(mixed[name], (1 - alpha) * start[name] + alpha * end[name], rtol=1e-12)
    assert all(torch.equal(found["α=0"][name], kept[0][name]) for name in start)
    assert all(torch.equal(found["α=1"][name], last[name]) for name in start)


@pytest.mark.parametrize("alphas", [[], [-0.1], [0.5, 1.1], 1.1, "abc", None])
def test_wise_ft_mixes_shares(alphas: Any) -> None:
    settings = {"_target_": "segrun.transfer.strategies.wise_ft.WiseFT", "backbone_lr": 0.4, "restart": True}
    assert build({**settings, "alphas": 0.5}, "strategy").alphas == (0.5,)
    with pytest.raises(RequestError, match=r"strategy\.alphas=.*: must be a number from 0 to 1, or a list"):
        build({**settings, "alphas": alphas}, "strategy")


def test_wise_ft_is_refused_from_random_weights() -> None:
    with pytest.raises(RequestError, match=r"mixes with the pretrained model, and nothing was loaded"):
        wise(0.5).plan(make_parts(loaded=False), FreezeBackbone(1), 8)


@pytest.mark.parametrize("freeze", [NoFreeze(), FreezeBackbone(None), FreezeStages(1)])
def test_wise_ft_is_refused_without_a_head_only_phase_and_one_after_it(freeze: FreezeSchedule) -> None:
    with pytest.raises(RequestError, match=r"trains the heads alone first.*Use freeze=head_first"):
        wise(0.5).plan(make_parts(), freeze, 8)
