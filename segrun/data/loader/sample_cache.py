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

ALIGNMENT = 64  # bytes; more than any type of values needs
# columns of the table: where the sample begins, plus 1 (0: it is not stored); channels, height, width, bytes per value
COLUMNS = 5


class SampleCache:
    """Stores samples by index, up to a number of bytes. What no longer fits is read again in each pass.

    This process and the loader's workers, which are forked from it, share one block of memory: what one has decoded,
    all have. The system grants pages as they are written. Workers that are not forked (Windows, macOS, Python 3.14)
    each have a block of their own, of an equal share of the budget.

    Args:
        budget: Largest size in bytes.
        count: Number of images.

    Raises:
        RequestError: The system does not grant that much memory.
    """

    def __init__(self, budget: int, count: int) -> None:
        self.budget, self.count = budget, count
        self._allocate(budget)

    def _allocate(self, budget: int) -> None:
        try:
            self.block = torch.frombuffer(mmap.mmap(-1, budget), dtype=torch.uint8)
        except (OSError, OverflowError) as error:
            raise RequestError(
                f"trainer.cache: the system does not grant {budget} bytes ({error}). Set a smaller value."
            ) from error
        # one row per sample, and a last one whose first value is where the free part of the block begins
        table = mmap.mmap(-1, 8 * COLUMNS * (self.count + 1))
        self.table = torch.frombuffer(table, dtype=torch.int64).view(-1, COLUMNS)
        self.lock = multiprocessing.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"budget": self.budget, "count": self.count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _ensure_allocated(self) -> None:
        if not hasattr(self, "block"):  # unpickled by a worker that was not forked
            worker = get_worker_info()
            self._allocate(max(1, self.budget // (worker.num_workers if worker else 1)))

    def get(self, index: int) -> tuple[Tensor, Tensor] | None:
        """Image and mask, which must not be written to; None if they are not stored."""
        self._ensure_allocated()
        with self.lock:
            begin, channels, height, width, value_size = self.table[index].tolist()
        if not begin:
            return None
        begin -= 1
        pixels = height * width
        end = begin + channels * pixels * value_size
        image, mask = self.block[begin:end], self.block[end : end + pixels]
        if value_size == 4:
            image = image.view(torch.float32)
        return image.view(channels, height, width), mask.view(height, width)

    def put(self, index: int, image: Tensor, mask: Tensor) -> None:
        """Store a sample if it is not yet stored, there is room, and its types are those of `Sample`."""
        if image.dtype not in (torch.uint8, torch.float32) or mask.dtype != torch.uint8:
            return
        self._ensure_allocated()
        parts = [part.contiguous().flatten().view(torch.uint8) for part in (image, mask)]
        with self.lock:
            begin = math.ceil(int(self.table[-1, 0]) / ALIGNMENT) * ALIGNMENT
            end = begin + sum(map(len, parts))
            if end > len(self.block) or self.table[index, 0]:
                return
            self.block[begin:end] = torch.cat(parts)
            self.table[index] = torch.tensor([begin + 1, *image.shape, image.element_size()])
            self.table[-1, 0] = end

    @property
    def stored(self) -> int:
        """Number of samples that are stored."""
        self._ensure_allocated()
        return int((self.table[:-1, 0] > 0).sum())

    @property
    def used(self) -> int:
        """Bytes that are in use."""
        self._ensure_allocated()
        return int(self.table[-1, 0])
