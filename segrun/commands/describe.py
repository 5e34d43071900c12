"""`segrun describe`: a model's parts, feature maps, operations and memory, computed without storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import MaxLen, MinLen
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from segrun.config.build import to_dataclass
from segrun.experiment.experiment import ModelSettings
from segrun.experiment.model import new_model
from segrun.models.backbones.backbone import Weightless
from segrun.models.segmenter import Segmenter
from segrun.ranges import PositiveInt
from segrun.report.models import Cost, cost_lines, part_table
from segrun.report.terminal import console, print_line

PAIR = 2  # images: batch norm after pooling needs more than one


@dataclass(frozen=True)
class DescribeSettings:
    """Keys of `segrun describe`; see conf/describe.yaml."""

    size: Annotated[Sequence[PositiveInt], MinLen(2), MaxLen(2)]
    channels: PositiveInt
    classes: PositiveInt
    batch_size: PositiveInt
    load: bool


def run(config: Mapping[str, Any]) -> None:
    """Print what a model is made of and what it costs.

    Raises:
        RequestError: Backbone and head do not fit each other or the images.
    """
    settings = to_dataclass(config, DescribeSettings, "")
    model_settings = ModelSettings.from_config(config)
    report = new_model(model_settings, settings.classes, settings.channels).report if settings.load else None
    with Weightless():
        model = new_model(model_settings.without_weights(), settings.classes, settings.channels)
        cost = measure(model.to("meta"), (PAIR, settings.channels, *settings.size))
    parts = model.parts()
    console().print(part_table(parts, cost))
    for line in cost_lines(parts, cost, settings.batch_size, settings.size):
        print_line(line)
    if report is not None:
        print_line(f"weights: {report}")
        for kind, names in report.names().items():
            print_line(f"{kind}: {', '.join(names) or 'none'}")


def measure(model: Segmenter, shape: tuple[int, ...]) -> Cost:
    """Count a forward pass of two images of this shape.

    Raises:
        RequestError: The images are too small for the model.
    """
    held: dict[int, int] = {}
    kept: list[Tensor] = []  # a freed storage's address may be given to another
    parameters = {_storage(parameter) for parameter in model.parameters()}

    def keep(value: Tensor) -> Tensor:
        if _storage(value) not in parameters:
            held[_storage(value)] = value.untyped_storage().nbytes()
        kept.append(value)
        return value

    images = torch.zeros(shape, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda value: value):
        output = model.train()(images)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    operations = {
        part.name: sum(sum(counts.get(f"{root}.{path}", {}).values()) for path in part.modules) // (2 * PAIR)
        for part in model.parts().values()
    }
    maps = [tuple(each.shape[1:]) for each in (*output.features, *output.tasks.values())]
    return Cost(operations, sum(held.values()) // PAIR, maps)


def _storage(value: Tensor) -> int:
    """Identifies a storage, also one without memory; torch has no public name for it."""
    return int(value.untyped_storage()._cdata)
