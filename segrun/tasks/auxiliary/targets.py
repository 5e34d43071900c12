"""The targets of all tasks for a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.types import VOID, Sample


@dataclass(frozen=True)
class Targets:
    """sample → the target of each task by its name.

    Attributes:
        auxiliary: The auxiliary tasks by name.
        classes: Of the primary mask.
        source: The task whose dataset the sample comes from. The mask of another dataset says nothing about the
            primary classes: for the other tasks it is void.
    """

    auxiliary: Mapping[str, Auxiliary]
    classes: int
    source: str = "mask"

    def __call__(self, sample: Sample) -> dict[str, Tensor]:
        primary = sample if self.source == "mask" else _without_labels(sample)
        targets = {"mask": primary.mask}
        for name, task in self.auxiliary.items():
            targets[name] = task.target(primary, self.classes)
        targets[self.source] = sample.mask
        return targets


def _without_labels(sample: Sample) -> Sample:
    """The image alone, also without its name, which an image of the primary dataset may have as well."""
    return Sample("", sample.image, torch.full_like(sample.mask, VOID))
