"""From images of any size to logits of the same size; large images go through the model in overlapping windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segrun.data.sizing import Sizing


@dataclass(frozen=True)
class Inference:
    """A model together with everything that determines its output for an image.

    Attributes:
        model: Gives `Output` for a batch of images.
        sizing: How images of any size reach the model, the side of the sliding window and its overlap.
        device: Where the model is.
        autocast: Makes the context of the precision.
        layout: Memory format of the images.
    """

    model: nn.Module
    sizing: Sizing
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    layout: torch.memory_format = torch.contiguous_format

    @torch.inference_mode()
    def logits(self, images: Tensor, task: str = "mask") -> Tensor:
        """The logits of one task.

        Args:
            images: (B, channels, H, W), values as in `types.Sample`.
            task: Name of the task.

        Returns:
            (B, C, H, W) float32, on the device.
        """
        size = (images.shape[-2], images.shape[-1])
        fitted = self.sizing.image(images.to(self.device, non_blocking=True))
        return self.sizing.restore(self._windowed(fitted, task), size)

    def is_large(self, image: Tensor) -> bool:
        """Whether an image (channels, H, W) has so many pixels that its logits should be in memory alone."""
        return image.shape[-2] * image.shape[-1] > self.sizing.tile**2

    def _windowed(self, images: Tensor, task: str) -> Tensor:
        height, width = images.shape[-2:]
        tile, overlap = self.sizing.tile, self.sizing.overlap
        if max(height, width) <= tile:
            return self._forward(images, task)
        window_height, window_width = min(height, tile), min(width, tile)
        weights = (_edge_ramp(window_height, overlap)[:, None] * _edge_ramp(window_width, overlap)).to(self.device)
        weight_sum = torch.zeros(height, width, device=self.device)
        total = torch.zeros(0)
        tops, lefts = window_starts(height, window_height, overlap), window_starts(width, window_width, overlap)
        for index, (top, left) in enumerate(itertools.product(tops, lefts)):
            rows, columns = slice(top, top + window_height), slice(left, left + window_width)
            logits = self._forward(images[..., rows, columns], task) * weights
            if index == 0:  # only now is the number of classes known
                total = logits.new_zeros(len(images), logits.shape[1], height, width)
            total[..., rows, columns] += logits
            weight_sum[rows, columns] += weights
        return total / weight_sum

    def _forward(self, images: Tensor, task: str) -> Tensor:
        images = images.contiguous(memory_format=self.layout)
        with self.autocast():
            logits: Tensor = self.model(images).tasks[task]
        return logits.float()


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """The first pixels of windows that cover a side, evenly spread.

    Args:
        length: Length of the side in pixels.
        window: Length of a window in pixels.
        overlap: Fraction of the window by which neighbouring windows overlap at least, in [0, 1).
    """
    if window >= length:
        return [0]
    largest_step = max(1, round(window * (1 - overlap)))
    steps = -(-(length - window) // largest_step)  # rounded up
    return [round(index * (length - window) / steps) for index in range(steps + 1)]


def _edge_ramp(length: int, overlap: float) -> Tensor:
    """(length,) weights that rise over the overlap from both edges, never zero."""
    overlap_pixels = max(1.0, length * overlap)
    position = torch.arange(length) + 0.5
    distance_to_edge = torch.minimum(position, length - position)
    return (distance_to_edge / overlap_pixels).clamp(max=1.0)
