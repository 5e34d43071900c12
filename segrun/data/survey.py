"""One look at every image and mask before the first step: label mistakes are found now, not in an hour."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.errors import DataError
from segrun.types import VOID


@dataclass(frozen=True)
class Survey:
    """names: the images looked at; sizes: (height, width) each; pixels: (N, classes) labelled pixels."""

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    pixels: Tensor

    def of(self, names: Sequence[str]) -> Survey:
        place = {name: i for i, name in enumerate(self.names)}
        rows = [place[name] for name in names]
        return Survey(tuple(names), tuple(self.sizes[i] for i in rows), self.pixels[rows])


def survey(data: Dataset, names: Sequence[str], tick: Callable[[int], None] = lambda done: None) -> Survey:
    """Read every image and mask once. `tick` is called with 1 after each.

    Raises:
        DataError: with the first few of the files that are unreadable, of different sizes, or hold values
            outside the classes, and how many there are.
    """
    classes = len(data.classes)

    def look(name: str) -> tuple[tuple[int, int], Tensor] | str:
        try:
            sample = data.sample(name)
        except DataError as error:
            return str(error)
        finally:
            tick(1)
        counts = torch.bincount(sample.mask.flatten(), minlength=VOID + 1)[:classes]
        return (int(sample.mask.shape[0]), int(sample.mask.shape[1])), counts

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(look, names))
    if problems := [result for result in found if isinstance(result, str)]:
        more = f"\n… and {len(problems) - 3} more of {len(names)} files." if len(problems) > 3 else ""
        raise DataError("\n".join(problems[:3]) + more)
    looked = [result for result in found if not isinstance(result, str)]
    if not looked:
        raise DataError("the data set holds no image.")
    return Survey(tuple(names), tuple(size for size, _ in looked), torch.stack([c for _, c in looked]))
