"""The contract of a head: from a backbone's feature maps to one task's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class Head(nn.Module):
    """Base class of heads. A constructor takes `levels` (the backbone's) and `outputs` besides its settings.

    A head that profits from finer deep maps takes `output_stride` as a setting: the largest stride that it would like
    a map to have. segrun asks the backbone for it where the backbone's own `output_stride` is null; a backbone that
    cannot be dilated stays as it is.

    Attributes:
        late_arguments: Constructor arguments that segrun sets: `levels`, the backbone's `Sequence[Level]`, and
            `outputs`, the channels of the output (classes, for the mask). They are no config keys.
        levels_used: Indices of the levels that `forward` reads. Others may be missing from the backbone's layers.
        full_size: Whether the model brings the output to the images' size. False for outputs that are not compared
            with a map of that size.
        output_stride: See above.
        output: The last layer. If it is an `nn.Conv2d` with a bias, a new mask head starts at the class prior.
    """

    late_arguments: ClassVar[tuple[str, ...]] = ("levels", "outputs")

    levels_used: tuple[int, ...]
    full_size: bool = True
    output_stride: int | None = None
    output: nn.Module

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The task's output.

        Args:
            features: One map per level of the backbone, (B, channels, H / stride, W / stride).

        Returns:
            (B, outputs, h, w) at any size, or what the task's loss takes, such as (B, outputs) for a whole image.
        """
        raise NotImplementedError
