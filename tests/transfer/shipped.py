"""Models as the shipped configs make them, without pretrained weights."""

from __future__ import annotations

from segrun.config.compose import compose
from segrun.experiment.experiment import ModelSettings
from segrun.experiment.model import new_model
from segrun.models.segmenter import Segmenter
from segrun.models.weights.report import LoadReport


def shipped_model(backbone: str, *words: str) -> Segmenter:
    """A new model for two classes with an FCN head; its backbone is reported as loaded in full."""
    values = compose("train", [f"backbone={backbone}", "backbone.weights=none", "head=fcn", *words])
    model = new_model(ModelSettings.from_config(values), 2)
    report_as_loaded(model)
    return model


def report_as_loaded(model: Segmenter) -> None:
    """Report the whole backbone as loaded."""
    model.report = LoadReport("x", loaded=tuple(model.backbone.state_dict())).prefixed("backbone.")
