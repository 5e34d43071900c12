"""Auxiliary tasks: what the model learns beside the mask, to be better at the mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.tasks.losses import Loss
from segrun.types import Sample


class Auxiliary(ABC):
    """One more thing that the model learns beside the mask; its head is dropped after training.

    name: as in conf/auxiliary; weight: of its loss in the sum; regression: uncertainty weighting (Kendall, Gal,
    Cipolla, CVPR 2018) has another formula for it. The loss takes the target with a batch dimension in front; its
    class weights, where it has any, are its own: `Loss.weigh` with the mask's pixels is not for it. dataset: where it
    learns from other images than the mask, with batch_size of them a batch.

    What has no label is VOID in uint8 targets and NaN in float ones, and the loss leaves it out of sums and weights.

    Raises:
        RequestError: a weight below 0.
    """

    name: str
    weight: float
    loss: Loss
    regression: bool = False
    dataset: Any = None
    batch_size: int = 0

    def __init__(self, weight: float, loss: Loss) -> None:
        self.weight, self.loss = weight, loss
        self.demand("weight", weight >= 0, "0 or more")

    @abstractmethod
    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        """From feature maps, one a level, to scores. `reads`: the places of the maps it uses; `full_size = False`:
        its scores are to stay as they are. classes: of the mask."""

    @abstractmethod
    def target(self, sample: Sample, classes: int) -> Tensor:
        """What the scores are compared with, from an augmented sample; of equal shape for all samples of a size."""

    def meet(self, labels: Mapping[str, str]) -> None:  # noqa: B027
        """Take the labels of whole images that the data set brings, by name, where it learns such."""

    def check(self, pixels: Tensor, classes: int) -> None:  # noqa: B027 – most have nothing to refuse
        """pixels: (N, classes) labelled pixels of each training image and class.

        Raises:
            RequestError: there is nothing in this data to learn the task from.
        """

    def check_names(self, names: Sequence[str]) -> None:  # noqa: B027
        """The same for what is looked up by the training images' names."""

    def demand(self, option: str, met: bool, wanted: str) -> None:
        """Raises RequestError, with the option's place and value, where a demand on it is not met."""
        if not met:
            raise RequestError(f"auxiliary.{self.name}.{option}={getattr(self, option)}: is to be {wanted}.")

    def refuse(self, why: str) -> RequestError:
        return RequestError(f"auxiliary={self.name}: {why} Leave it out of auxiliary=[…].")


class Elementwise(Loss):
    """Σ between(score, target) over the target's elements that are not NaN, divided by their number.

    between: one of torch.nn.functional's losses, called with reduction="none".
    """

    def __init__(self, between: Callable[..., Tensor]) -> None:
        super().__init__()
        self.between = between

    def normalizers(self, target: Tensor) -> Tensor:
        return (~target.isnan()).sum().float()[None]

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        each = self.between(scores, target.nan_to_num(), reduction="none")
        return torch.where(target.isnan(), 0, each).sum()[None]
