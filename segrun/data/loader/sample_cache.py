"""Decoded images kept in memory, so that each is read and decoded once instead of in every pass."""

from __future__ import annotations

import math
import mmap
import multiprocessing
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from segrun.errors import RequestError

ALIGN = 64  # bytes; more than any type of values asks for
FIELDS = 5  # of a sample: where it begins, plus 1 (0: it is not here); channels, height, width, bytes a value


class SampleCache:
    """Samples by index, up to `budget` bytes; what no longer fits is read again each time.

    One block of memory is shared by this process and the loader's workers, which are forked from it: what one
    has decoded, all have. Pages are taken from the system as they are written. Where workers are not forked (Windows,
    macOS, Python 3.14) each has a block of its own, of an equal share of the budget.

    Raises:
        RequestError: the system does not grant so much memory.
    """

    def __init__(self, budget: int, count: int) -> None:
        self.budget, self.count = budget, count
        self._open(budget)

    def _open(self, budget: int) -> None:
        try:
            self.block = torch.frombuffer(mmap.mmap(-1, budget), dtype=torch.uint8)
        except (OSError, OverflowError) as error:
            raise RequestError(f"trainer.cache: {budget} bytes cannot be had ({error}). Give less.") from error
        # a row a sample, and one whose first value is where the free part of the block begins
        table = mmap.mmap(-1, 8 * FIELDS * (self.count + 1))
        self.table = torch.frombuffer(table, dtype=torch.int64).view(-1, FIELDS)
        self.lock = multiprocessing.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"budget": self.budget, "count": self.count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _ready(self) -> None:
        if not hasattr(self, "block"):  # unpickled, by a worker that was not forked
            worker = get_worker_info()
            self._open(max(1, self.budget // (worker.num_workers if worker else 1)))

    def get(self, index: int) -> tuple[Tensor, Tensor] | None:
        """Image and mask, which nobody may write to; None where they are not kept."""
        self._ready()
        with self.lock:
            begin, channels, height, width, size = self.table[index].tolist()
        if not begin:
            return None
        pixels, begin = height * width, begin - 1
        image = self.block[begin : begin + channels * pixels * size]
        mask = self.block[begin + len(image) : begin + len(image) + pixels]
        if size == 4:
            image = image.view(torch.float32)
        return image.view(channels, height, width), mask.view(height, width)

    def put(self, index: int, image: Tensor, mask: Tensor) -> None:
        """Keep a sample, if it is not yet kept, there is room, and its types are those of segrun.types."""
        if image.dtype not in (torch.uint8, torch.float32) or mask.dtype != torch.uint8:
            return
        self._ready()
        parts = [part.contiguous().flatten().view(torch.uint8) for part in (image, mask)]
        with self.lock:
            begin = math.ceil(int(self.table[-1, 0]) / ALIGN) * ALIGN
            end = begin + sum(map(len, parts))
            if end > len(self.block) or self.table[index, 0]:
                return
            self.block[begin:end] = torch.cat(parts)
            self.table[index] = torch.tensor([begin + 1, *image.shape, image.element_size()])
            self.table[-1, 0] = end

    @property
    def kept(self) -> int:
        """How many samples are here."""
        self._ready()
        return int((self.table[:-1, 0] > 0).sum())

    @property
    def used(self) -> int:
        """Bytes that they take."""
        self._ready()
        return int(self.table[-1, 0])
