"""What an auxiliary task is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.models.heads.head import Head
from segrun.ranges import NonNegativeFloat
from segrun.tasks.losses.loss import Loss
from segrun.types import Sample


class Auxiliary(ABC):
    """A task that is trained beside the mask to improve the mask; its head is dropped after training.

    What has no label is VOID in uint8 targets and NaN in float ones; the loss leaves it out of sums and normalizers.

    Args:
        weight: Factor on the loss in the sum of all tasks.
        loss: Compares scores and target, each with the batch dimension in front. If it has class weights, the task
            sets them itself: `Loss.set_class_weights` with the pixels of the mask does not apply.

    Attributes:
        late_arguments: Constructor arguments that segrun sets, if the class takes them: `image_labels`, the labels of
            whole images that the primary dataset brings, by image name. They are no config keys.
        name: As in the config group `auxiliary`.
        regression: Whether the loss is a regression, for which uncertainty weighting (Kendall, Gal, Cipolla, CVPR
            2018) has another formula.
        dataset: The dataset of a task that is trained on other images than the mask; None for the primary one.
        batch_size: Images of `dataset` per batch.
    """

    late_arguments: ClassVar[tuple[str, ...]] = ("image_labels",)
    name: ClassVar[str]
    regression: ClassVar[bool] = False

    dataset: Dataset | None = None
    batch_size: int = 0

    def __init__(self, weight: NonNegativeFloat, loss: Loss) -> None:
        self.weight = weight
        self.loss = loss

    @abstractmethod
    def head(self, levels: Sequence[Level], classes: int) -> Head:
        """A new head.

        Args:
            levels: The backbone's.
            classes: Of the mask.
        """

    @abstractmethod
    def target(self, sample: Sample, classes: int) -> Tensor:
        """What the scores are compared with.

        Args:
            sample: After augmentation.
            classes: Of the mask.

        Returns:
            A tensor whose shape is the same for all samples of one size.
        """

    def check(self, pixels: Tensor, classes: int) -> None:  # noqa: B027 – most accept all data
        """Refuse data from which the task cannot be trained.

        Args:
            pixels: (N, classes) labelled pixels of each training image and class.
            classes: Of the mask.

        Raises:
            RequestError: The task cannot be trained from this data.
        """

    def check_names(self, names: Sequence[str]) -> None:  # noqa: B027 – most do not look up images by name
        """Refuse the names of the training images if no target can be found for them.

        Raises:
            RequestError: The task cannot be trained with these images.
        """

    def refusal(self, reason: str) -> RequestError:
        """The error for data from which the task cannot be trained."""
        return RequestError(f"auxiliary={self.name}: {reason} Leave it out of auxiliary=[…].")
