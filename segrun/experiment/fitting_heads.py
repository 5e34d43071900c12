"""Which shipped heads fit the feature maps of a backbone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from segrun.config.compose import compose
from segrun.config.options import option_names
from segrun.experiment.experiment import ModelSettings
from segrun.models.backbones.backbone import Level
from segrun.models.heads.levels import LacksLevel


def unfit_heads(levels: Sequence[Level]) -> dict[str, str]:
    """The shipped heads that need a feature map which these levels lack, and why."""
    reasons: dict[str, str] = {}
    for name in option_names("head"):
        try:
            with torch.device("meta"):
                default_model(name).head(levels=levels, outputs=2)
        except LacksLevel as error:
            reasons[name] = str(error)
    return reasons


def fitting_heads(levels: Sequence[Level]) -> list[str]:
    """The shipped heads that these levels suffice for."""
    unfit = unfit_heads(levels)
    return [name for name in option_names("head") if name not in unfit]


@functools.cache
def default_model(head: str) -> ModelSettings:
    """A shipped head on the default backbone, with random weights."""
    return ModelSettings.from_config(compose("describe", [f"head={head}", "backbone.weights=none"]))
