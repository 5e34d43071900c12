"""The shipped backbones and heads, built without storage."""

from __future__ import annotations

from segrun.config.compose import compose
from segrun.experiment.experiment import ModelSettings
from segrun.experiment.fitting_heads import default_model
from segrun.experiment.model import new_model
from segrun.models.backbones.backbone import Backbone, Weightless


def shipped_backbone(name: str) -> Backbone:
    """A backbone without weights and storage.

    Raises:
        MissingExtraError: Its library is not installed.
    """
    settings = ModelSettings.from_config(compose("describe", [f"backbone={name}", "backbone.weights=none"]))
    with Weightless():
        return settings.backbone()


def head_parameters(name: str) -> int:
    """The size of a shipped head on the default backbone, for two classes."""
    with Weightless():
        model = new_model(default_model(name), 2)
    return sum(parameter.numel() for parameter in model.heads.parameters())
