"""What is to be learnt of a sample, for every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.types import VOID, Sample


@dataclass(frozen=True)
class Targets:
    """sample → the target of each task. classes: of the primary mask; source: the task whose own data set the sample
    comes from. The mask of another data set says nothing of the primary classes: to the other tasks it is void."""

    auxiliary: Mapping[str, Auxiliary]
    classes: int
    source: str = "mask"

    def __call__(self, sample: Sample) -> dict[str, Tensor]:
        # nor does its name, which an image of the primary data set may have, too
        shown = sample if self.source == "mask" else Sample("", sample.image, torch.full_like(sample.mask, VOID))
        found = {name: task.target(shown, self.classes) for name, task in self.auxiliary.items()}
        return {"mask": shown.mask, **found, self.source: sample.mask}
