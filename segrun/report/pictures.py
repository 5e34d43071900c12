"""Masks as pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrun.types import VOID, ClassMap, Sample, to_display_rgb

VOID_COLOUR = (255, 255, 255)
OVERLAY_WIDTH = 260  # pixels of each half
OVERLAY_GAP = 6
IMAGE_WEIGHT, MASK_WEIGHT = 0.45, 0.55


def colour_mask(mask: NDArray[np.uint8], classes: ClassMap) -> NDArray[np.uint8]:
    """A mask in the colours of its classes, VOID in white.

    Args:
        mask: (H, W) class indices.
        classes: Their colours.

    Returns:
        (H, W, 3).
    """
    palette = np.full((VOID + 1, 3), VOID_COLOUR, np.uint8)
    palette[: len(classes)] = classes.palette
    return np.asarray(palette[mask])


def overlay(sample: Sample, classes: ClassMap) -> NDArray[np.uint8]:
    """The image, and next to it the image under its mask. Pixels without a label are left as they are.

    Returns:
        (H, 2 * OVERLAY_WIDTH + OVERLAY_GAP, 3).
    """
    image = Image.fromarray(to_display_rgb(sample.image))
    size = (OVERLAY_WIDTH, max(1, round(image.height * OVERLAY_WIDTH / image.width)))
    is_shrunk = image.width > OVERLAY_WIDTH
    pixels = np.asarray(image.resize(size, Image.Resampling.BOX if is_shrunk else Image.Resampling.NEAREST))
    mask = np.array(Image.fromarray(sample.mask.numpy()).resize(size, Image.Resampling.NEAREST))
    blended = (IMAGE_WEIGHT * pixels + MASK_WEIGHT * colour_mask(mask, classes)).astype(np.uint8)
    blended = np.where((mask == VOID)[..., None], pixels, blended)
    gap = np.full((size[1], OVERLAY_GAP, 3), 255, np.uint8)
    return np.concatenate((pixels, gap, blended), axis=1)
