"""Parts of shipped models."""

from __future__ import annotations

import functools

from segrun.models.parts import Parts
from segrun.models.weights.report import LoadReport
from tests.transfer.shipped import shipped_model

BACKBONES = ["mobilenet_v2", "resnet18"]


@functools.cache
def shipped_parts(backbone: str, loaded: bool = True) -> Parts:
    """The backbone is reported as loaded in full, or not at all."""
    model = shipped_model(backbone)
    if not loaded:
        model.report = LoadReport("none")
    return model.parts()
