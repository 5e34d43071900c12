"""Images of mixed sizes: one stated policy, the same for training, scoring and predicting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

from segrun.errors import DataError, RequestError
from segrun.types import VOID, Sample

Size = tuple[int, int]


@dataclass(frozen=True)
class Sizing:
    """fit: how an image of any size reaches the network; size: (height, width) in pixels.

    keep:   as it is (a batch needs equal sizes, so training refuses mixed ones);
    resize: stretched to `size`, and the scores are stretched back to the image's own size;
    pad:    filled up with black to `size` at the right and the bottom (void in the mask), cut off again;
    crop:   training sees windows of `size` in the image's own scale, scoring and predicting the whole image.
    tile: side in pixels above which scoring and predicting part what reaches the network into windows, which
    overlap by the share `overlap`.
    """

    fit: str
    size: Size | None
    tile: int = 1024
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.fit not in ("keep", "resize", "pad", "crop"):
            raise RequestError(f"sizing.fit={self.fit}: choose keep, resize, pad or crop.")
        if (self.size is None) != (self.fit == "keep"):
            cure = "needs sizing.size=[height,width]" if self.size is None else "takes no sizing.size"
            raise RequestError(f"sizing.fit={self.fit} {cure}.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise RequestError(f"sizing.size={list(self.size)}: give [height,width] in pixels.")
        if self.tile < 32 or not 0 <= self.overlap < 1:
            raise RequestError(
                f"tile={self.tile} overlap={self.overlap}: a tile has 32 pixels or more, 0 ≤ overlap < 1."
            )

    def image(self, image: Tensor, name: str = "image") -> Tensor:
        """(3, H, W) → what the network sees.

        Raises:
            DataError: an image larger than the size it is to be padded to.
        """
        if self.fit == "resize":
            image = T.resize(image, list(self.size or ()), antialias=True)
        elif self.fit == "pad":
            image = T.pad(image, self._padding(image.shape[-2:], name))
        return image

    def sample(self, sample: Sample) -> Sample:
        """The same for a labelled image; masks are never interpolated."""
        image, mask = self.image(sample.image, sample.name), sample.mask
        if self.fit == "resize":
            mask = T.resize(mask[None], list(self.size or ()), T.InterpolationMode.NEAREST_EXACT)[0]
        elif self.fit == "pad":
            mask = T.pad(mask[None], self._padding(mask.shape, sample.name), fill=VOID)[0]
        return Sample(sample.name, image, mask)

    def restore(self, logits: Tensor, size: Size) -> Tensor:
        """(B, C, h, w) scores → (B, C, *size), the image's own size."""
        if self.fit == "pad":
            return logits[..., : size[0], : size[1]]
        if logits.shape[-2:] != size:
            return F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits

    def check(self, sizes: Sequence[Size]) -> None:
        """Raises DataError where training could not make batches of images of these sizes."""
        different = sorted(set(sizes))
        if self.fit == "keep" and len(different) > 1:
            raise DataError(
                f"the training images have {len(different)} sizes, from {_shown(different[0])} to "
                f"{_shown(different[-1])}. Choose how to fit them: sizing.fit=resize, pad or crop "
                "with sizing.size=[height,width]."
            )

    def _padding(self, size: Sequence[int], name: str) -> list[int]:
        assert self.size is not None
        down, right = self.size[0] - size[0], self.size[1] - size[1]
        if min(down, right) < 0:
            raise DataError(f"{name}: {_shown(size)} is larger than sizing.size {_shown(self.size)} it is padded to.")
        return [0, 0, right, down]


def _shown(size: Sequence[int]) -> str:
    return f"{size[1]}×{size[0]}"
