"""What a scan stores of an image and its mask."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STRIDES = (4, 8, 16, 32)
VERSION = 5  # raise it whenever a record changes its meaning: cached records of other versions are not used
Counts = NDArray[np.int64]


def no_counts() -> Counts:
    """The class counts of a mask that could not be read."""
    return np.zeros((1 + len(STRIDES), 0), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """The measurements from which training and `segrun check` judge an image and its mask.

    What could not be read keeps its default.

    Attributes:
        problem: What is wrong with the files; empty if nothing is.
        problem_kind: "unreadable", "size" or "value" if there is a problem.
        jpeg_mask: Whether the mask file is a JPEG.
        is_turned: Whether the EXIF orientation turns the image but not its mask, and their sizes do not confirm it.
        size: (height, width)
        mode: Grey or colour, and the depth if it is more than 8 bits.
        min_value: Smallest intensity, in [0, 1].
        max_value: Largest intensity, in [0, 1].
        mean_value: Mean intensity, in [0, 1].
        colour_count: Distinct colours of the image; counted only if the mask has a wrong value.
        digest: Equal for images that are identical pixel for pixel, except for blank ones.
        perceptual_hash: 64 bits, similar for images that look alike.
        mask_checksum: Equal for equal masks.
        void_pixels: Pixels without a label.
        alignment: How well the edges of mask and image coincide, see `edge_alignment`; NaN if the mask has no edges.
        class_counts: (1 + strides, classes). First the pixels of each class, then how many of them remain if each cell
            of stride × stride pixels keeps only its most frequent class, for each of `STRIDES`.
    """

    problem: str = ""
    problem_kind: str = ""
    jpeg_mask: bool = False
    is_turned: bool = False
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    min_value: float = 0.0
    max_value: float = 0.0
    mean_value: float = 0.0
    colour_count: int = 0
    digest: bytes = b""
    perceptual_hash: int = 0
    mask_checksum: int = 0
    void_pixels: int = 0
    alignment: float = float("nan")
    class_counts: Counts = field(default_factory=no_counts)

    @property
    def pixel_counts(self) -> Counts:
        """(classes,) labelled pixels."""
        return np.asarray(self.class_counts[0])

    @property
    def is_blank(self) -> bool:
        """Whether the image has a single value."""
        return self.min_value == self.max_value
