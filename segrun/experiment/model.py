"""A model out of settings, with its pretrained weights and new heads."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from segrun.errors import RequestError, join_names
from segrun.experiment.experiment import ModelSettings
from segrun.experiment.fitting_heads import fitting_heads
from segrun.models.heads.head import Head
from segrun.models.heads.levels import LacksLevel
from segrun.models.segmenter import Segmenter
from segrun.tasks.auxiliary.auxiliary import Auxiliary

Auxiliaries = Mapping[str, Auxiliary]


def new_model(
    settings: ModelSettings, classes: int, channels: int = 3, auxiliary: Auxiliaries | None = None
) -> Segmenter:
    """A model with its pretrained weights, a new head for the mask and one for each auxiliary task.

    Args:
        settings: Backbone and head.
        classes: Of the mask.
        channels: Of the images.
        auxiliary: The auxiliary tasks by name.

    Raises:
        RequestError: The backbone is for images of other channels, or lacks a feature map that the head needs.
    """
    backbone = settings.backbone(in_channels=channels)
    if len(backbone.mean) != channels:
        raise RequestError(
            f"backbone: takes images of {len(backbone.mean)} channels, those of the data set have {channels}."
        )
    stride = settings.head.settings.get("output_stride")
    if stride is not None and settings.backbone.settings.get("output_stride") is None:
        with contextlib.suppress(RequestError):  # the head would like it, and works at other strides, too
            backbone.dilate(stride)
    try:
        heads: dict[str, Head] = {"mask": settings.head(levels=backbone.levels, outputs=classes)}
    except LacksLevel as error:
        raise RequestError(f"{error} Heads that fit it: {join_names(fitting_heads(backbone.levels), 20)}.") from error
    for name, task in (auxiliary or {}).items():
        heads[name] = task.head(backbone.levels, classes)
    backbone.keep_levels({index for head in heads.values() for index in head.levels_used})
    return Segmenter(backbone, heads)
