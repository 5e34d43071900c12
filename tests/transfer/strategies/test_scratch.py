"""Training from scratch: one learning rate, and no loaded weights."""

from __future__ import annotations

import pytest

from segrun.errors import RequestError
from segrun.transfer.freeze import NoFreeze
from segrun.transfer.strategies.scratch import Scratch
from tests.transfer.strategies.shipped_parts import BACKBONES, shipped_parts


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scratch_teaches_everything_at_one_rate(backbone: str) -> None:
    random = shipped_parts(backbone, loaded=False)
    (phase,) = Scratch().plan(random, NoFreeze(), 5).check(random).phases
    assert tuple(phase.trainable) == tuple(random)
    assert {settings.lr_multiplier for settings in phase.trainable.values()} == {1.0}


def test_scratch_refuses_loaded_weights() -> None:
    with pytest.raises(RequestError, match=r"strategy=scratch starts from random weights.*backbone\.weights"):
        Scratch().plan(shipped_parts("mobilenet_v2"), NoFreeze(), 5)
