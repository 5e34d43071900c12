"""Cutting a window out of an image and its mask."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms import v2

from segrun.types import VOID


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, part: Tensor) -> Tensor:
        """The window of (…, H, W)."""
        return part[..., self.top : self.top + self.height, self.left : self.left + self.width]


def draw_window(mask: Tensor, height: int, width: int, class_aware: float) -> Window:
    """Draw the position of a window.

    Args:
        mask: (H, W) class indices and VOID, at least as large as the window.
        height: Of the window.
        width: Of the window.
        class_aware: Probability that the window must hold a pixel of a class that is drawn uniformly from the mask's.
    """
    last_top, last_left = mask.shape[0] - height, mask.shape[1] - width
    tops, lefts = (0, last_top), (0, last_left)  # smallest and largest
    if class_aware and torch.rand(()) < class_aware:
        pixel = draw_class_pixel(mask)
        if pixel is not None:
            row, column = pixel
            tops = (max(0, row - height + 1), min(row, last_top))
            lefts = (max(0, column - width + 1), min(column, last_left))
    top = _draw_integer(*tops)
    left = _draw_integer(*lefts)
    return Window(top, left, height, width)


def draw_class_pixel(mask: Tensor) -> tuple[int, int] | None:
    """Row and column of a pixel of a class, both drawn uniformly; None if the mask has no labels."""
    flat = mask.flatten()
    labels = torch.bincount(flat, minlength=VOID + 1)[:VOID].nonzero()
    if not len(labels):
        return None
    label = labels[_draw_integer(0, len(labels) - 1)]
    pixels = (flat == label).nonzero()
    return divmod(int(pixels[_draw_integer(0, len(pixels) - 1)]), mask.shape[1])


def rotate_around(image: Tensor, mask: Tensor, window: Window, angle: float) -> tuple[Tensor, Tensor, Window]:
    """Turn a window about its centre, together with as much around it as its turned corners reach.

    Args:
        image: (C, H, W)
        mask: (H, W)
        window: The window.
        angle: Degrees, counter-clockwise.

    Returns:
        The turned surroundings of the window, of image and mask (black and void beyond the image), and the window's
        position in them.
    """
    sin, cos = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    down = _margin(window.height * cos + window.width * sin, window.height)
    across = _margin(window.width * cos + window.height * sin, window.width)
    above, before = min(window.top, down), min(window.left, across)
    surroundings = Window(
        window.top - above, window.left - before, above + window.height + down, before + window.width + across
    )
    centre = [before + window.width / 2, above + window.height / 2]
    modes = v2.InterpolationMode
    turned_image = v2.functional.rotate(surroundings.cut(image), angle, modes.BILINEAR, center=centre)
    turned_mask = v2.functional.rotate(surroundings.cut(mask[None]), angle, modes.NEAREST, center=centre, fill=VOID)
    return turned_image, turned_mask[0], replace(window, top=above, left=before)


def _margin(reach: float, side: int) -> int:
    """Pixels on either side of a window that its turned corners reach, and one more."""
    return max(0, math.ceil((reach - side) / 2)) + 1


def _draw_integer(lowest: int, highest: int) -> int:
    return lowest + int(torch.randint(highest - lowest + 1, ()))
