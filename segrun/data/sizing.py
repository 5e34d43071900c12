"""Images of mixed sizes: one policy, the same for training, scoring and predicting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, MaxLen, MinLen
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

from segrun.errors import DataError, RequestError
from segrun.ranges import FractionBelowOne, PositiveInt
from segrun.types import VOID, Sample

ImageSize = Annotated[Sequence[PositiveInt], MinLen(2), MaxLen(2)]  # (height, width) in pixels


@dataclass(frozen=True)
class Sizing:
    """How an image of any size reaches the network.

    Attributes:
        fit: "keep": as it is; a batch needs equal sizes, so training refuses mixed ones.
            "resize": stretched to `size`; the logits are stretched back.
            "pad": filled up to `size` at the right and the bottom, with black and void, which is cut off again.
            "crop": training sees windows of `size`, scoring and predicting see the whole image.
        size: (height, width) in pixels; None for "keep".
        tile: Scoring and predicting divide images with a longer side into windows of this side, in pixels.
        overlap: Fraction of a window that neighbouring windows share.
    """

    fit: Literal["keep", "resize", "pad", "crop"]
    size: ImageSize | None
    tile: Annotated[int, Ge(32)] = 1024
    overlap: FractionBelowOne = 0.25

    def __post_init__(self) -> None:
        if self.size is None and self.fit != "keep":
            raise RequestError(f"sizing.fit={self.fit}: needs sizing.size=[height,width].")
        if self.size is not None and self.fit == "keep":
            raise RequestError("sizing.fit=keep: takes no sizing.size. Choose resize, pad or crop for a size.")

    def image(self, image: Tensor, name: str = "image") -> Tensor:
        """Bring an image to the size that the network sees.

        Args:
            image: (C, H, W)
            name: Names the image in messages.

        Raises:
            DataError: The image is larger than the size it is padded to.
        """
        if self.fit == "resize":
            image = T.resize(image, list(self._target_size()), antialias=True)
        elif self.fit == "pad":
            image = T.pad(image, self._padding(image.shape[-2:], name))
        return image

    def sample(self, sample: Sample) -> Sample:
        """Bring image and mask to the size that the network sees. The mask is never interpolated.

        Raises:
            DataError: The image is larger than the size it is padded to.
        """
        image, mask = self.image(sample.image, sample.name), sample.mask
        if self.fit == "resize":
            mask = T.resize(mask[None], list(self._target_size()), T.InterpolationMode.NEAREST_EXACT)[0]
        elif self.fit == "pad":
            mask = T.pad(mask[None], self._padding(mask.shape, sample.name), fill=VOID)[0]
        return Sample(sample.name, image, mask)

    def restore(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits back to the size of the image.

        Args:
            logits: (B, C, h, w)
            size: (height, width) of the image.

        Returns:
            (B, C, height, width)
        """
        height, width = size
        if self.fit == "pad":
            return logits[..., :height, :width]
        if logits.shape[-2:] != (height, width):
            return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return logits

    def check(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Refuse training images that cannot share a batch.

        Args:
            sizes: (height, width) of each image.

        Raises:
            DataError: They differ in size, and the sizing keeps it.
        """
        distinct = sorted(set(sizes))
        if self.fit == "keep" and len(distinct) > 1:
            raise DataError(
                f"the training images have {len(distinct)} sizes, from {_to_text(distinct[0])} to "
                f"{_to_text(distinct[-1])}. Choose how to fit them: sizing.fit=resize, pad or crop "
                "with sizing.size=[height,width]."
            )

    def _target_size(self) -> tuple[int, int]:
        """`size` of a policy that has one."""
        height, width = self.size or (0, 0)
        return height, width

    def _padding(self, size: Sequence[int], name: str) -> list[int]:
        """Pixels to add: left, top, right, bottom."""
        height, width = self._target_size()
        bottom, right = height - size[0], width - size[1]
        if min(bottom, right) < 0:
            raise DataError(
                f"{name}: {_to_text(size)} is larger than sizing.size {_to_text((height, width))} it is padded to. "
                "Give a larger sizing.size, or choose sizing.fit=crop or resize."
            )
        return [0, 0, right, bottom]


def _to_text(size: Sequence[int]) -> str:
    return f"{size[1]}×{size[0]}"
