"""Volumes as sets of slices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.read.images import decode_mask
from segrun.data.read.intensity import Scaled
from segrun.data.sets.classes import distinct
from segrun.errors import DataError, RequestError


class Volumes(Scaled):
    """Its images are slices, `case/012`; a drawn split keeps those of a case together.

    A subclass calls `list_slices` when it can read labels.
    """

    ignore_index: int
    notes: list[str]

    @abstractmethod
    def indices(self, name: str) -> tuple[NDArray[np.int64], Path]:
        """(H, W) values of a slice, and the file they are from. Raises DataError."""

    def mask(self, name: str) -> Tensor:
        values, path = self.indices(name)
        return decode_mask(values, path, self.classes, "index", self.ignore_index)

    def group(self, name: str) -> str:
        return self.place(name)[0]

    @staticmethod
    def place(name: str) -> tuple[str, int]:
        """(case, number of the slice, from 0)"""
        case, _, number = name.rpartition("/")
        return case, int(number)

    def list_slices(self, depths: Mapping[str, int], empty: str) -> None:
        """depths: slices of each case; empty: whether slices that hold nothing but the first class are images, too
        ("keep") or left out ("drop", for which all labels are read now).

        Raises:
            RequestError: another word; the value that means "no label" is a class, too.
            DataError: no slice is left.
        """
        distinct(self.classes, self.ignore_index)
        if empty not in ("keep", "drop"):
            raise RequestError(f"dataset.empty={empty}: choose keep or drop.")
        every = tuple(f"{case}/{number:03}" for case, depth in depths.items() for number in range(depth))
        self.names = every
        if empty == "drop" and not self.problems:
            self.names = tuple(name for name in every if self._holds_label(name))
            left = len(every) - len(self.names)
            self.notes.append(f"left out: {left} of {len(every)} slices without a label (dataset.empty=drop)")
            if not self.names:
                raise DataError("no slice holds a label. Correct the masks, or keep empty slices: dataset.empty=keep.")

    def _holds_label(self, name: str) -> bool:
        return not np.isin(self.indices(name)[0], (0, self.ignore_index)).all()
