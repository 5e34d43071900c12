"""From images to scores at their own size; large images window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor, nn

from segrun.data.sizing import Sizing

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Inference:
    """A model with all that decides what it says of an image.

    Images larger than the sizing's tile go through in windows, blended by weights that fall off towards the
    windows' edges. autocast: makes the context of the precision.
    """

    model: nn.Module
    sizing: Sizing
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    layout: torch.memory_format = torch.contiguous_format

    @torch.inference_mode()
    def logits(self, images: Tensor, task: str = "mask") -> Tensor:
        """(B, C, H, W) as in types.Sample → (B, C, H, W) float32 logits on the device."""
        size = (images.shape[-2], images.shape[-1])
        fitted = self.sizing.image(images.to(self.device, non_blocking=True))
        return self.sizing.restore(self._tiled(fitted, task), size)

    def large(self, image: Tensor) -> bool:
        """Whether an image's scores are best held one at a time."""
        return image.shape[-2] * image.shape[-1] > self.sizing.tile**2

    def _tiled(self, images: Tensor, task: str) -> Tensor:
        height, width = images.shape[-2:]
        tile, overlap = self.sizing.tile, self.sizing.overlap
        if max(height, width) <= tile:
            return self._forward(images, task)
        tall, wide = min(height, tile), min(width, tile)
        weight = (_ramp(tall, overlap)[:, None] * _ramp(wide, overlap)).to(self.device)
        total: Tensor | None = None
        mass = torch.zeros(height, width, device=self.device)
        for top in window_starts(height, tall, overlap):
            for left in window_starts(width, wide, overlap):
                piece = (..., slice(top, top + tall), slice(left, left + wide))
                scores = self._forward(images[piece], task) * weight
                if total is None:
                    total = scores.new_zeros(len(images), scores.shape[1], height, width)
                total[piece] += scores
                mass[piece[1:]] += weight
        assert total is not None
        return total / mass

    def _forward(self, images: Tensor, task: str) -> Tensor:
        images = images.contiguous(memory_format=self.layout)
        with self.autocast():
            scores: Tensor = self.model(images).tasks[task]
        return scores.float()


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Starts of windows that cover `length`, evenly spread, overlapping by `overlap` of a window or more."""
    if window >= length:
        return [0]
    count = -(-(length - window) // max(1, round(window * (1 - overlap)))) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def _ramp(length: int, overlap: float) -> Tensor:
    """(length,) weights that rise over the overlap from each edge, never to zero."""
    reach = max(1.0, length * overlap)
    edge = torch.arange(length) + 0.5
    return (torch.minimum(edge, length - edge) / reach).clamp(max=1.0)


def read_ahead(items: Iterable[A], read: Callable[[A], B], workers: int, ahead: int) -> Iterator[B]:
    """read(item) in order, done by threads up to `ahead` items before they are asked for."""
    source = iter(items)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: list[Future[B]] = [pool.submit(read, item) for item in islice(source, ahead)]
        while waiting:
            done = waiting.pop(0)
            for item in islice(source, 1):
                waiting.append(pool.submit(read, item))
            yield done.result()


def same_sized(
    items: Iterable[A],
    size: Callable[[A], Sequence[object]],
    most: int,
    alone: Callable[[A], bool] = lambda item: False,
) -> Iterator[list[A]]:
    """Neighbours of equal size, up to `most` together; those that fill the memory `alone`."""
    group: list[A] = []
    for item in items:
        if group and (len(group) == most or alone(item) or size(group[0]) != size(item)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group
