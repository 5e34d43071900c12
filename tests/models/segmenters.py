"""Models by the names of their parts, as the tests of this folder need them."""

from __future__ import annotations

from typing import Any

from segrun.config.compose import compose
from segrun.experiment.experiment import ModelSettings
from segrun.experiment.model import new_model
from segrun.models.segmenter import Segmenter


def model_config(*overrides: str) -> dict[str, Any]:
    """The config of `segrun describe` with these overrides."""
    return compose("describe", overrides)


def segmenter_of(values: dict[str, Any], classes: int = 3, channels: int = 3) -> Segmenter:
    return new_model(ModelSettings.from_config(values), classes, channels)


def segmenter(*overrides: str, classes: int = 3, channels: int = 3) -> Segmenter:
    """The model of `segrun describe` with these overrides, by default with random weights."""
    weights = [] if any(word.startswith("backbone.weights=") for word in overrides) else ["backbone.weights=none"]
    return segmenter_of(model_config(*overrides, *weights), classes, channels)
