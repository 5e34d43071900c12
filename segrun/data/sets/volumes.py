"""Volumes as sets of slices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.raw_dataset import RawDataset
from segrun.data.read.masks import decode_mask
from segrun.data.sets.files import FileReport
from segrun.errors import DataError

EmptySlices = Literal["keep", "drop"]


class VolumeSlices(RawDataset):
    """A data set whose images are slices of volumes, named `case/012`. A drawn split keeps a case together.

    A subclass sets `names` with `list_slices`, once it can read labels.

    Attributes:
        ignore_index: The value in labels that means "no label".
    """

    ignore_index: int

    @abstractmethod
    def read_labels(self, name: str) -> tuple[NDArray[np.int64], Path]:
        """(H, W) values of a slice as stored, and the file that holds them.

        Raises:
            DataError: They cannot be read.
        """

    def mask(self, name: str) -> Tensor:
        values, path = self.read_labels(name)
        return decode_mask(values, path, self.classes, "index", self.ignore_index)

    def group(self, name: str) -> str:
        return self.parse_name(name)[0]

    @staticmethod
    def parse_name(name: str) -> tuple[str, int]:
        """The case, and the index of the slice from 0."""
        case, _, index = name.rpartition("/")
        return case, int(index)

    def list_slices(self, slice_counts: Mapping[str, int], empty: EmptySlices, report: FileReport) -> tuple[str, ...]:
        """The names of all slices.

        Args:
            slice_counts: Number of slices of each case.
            empty: "keep": slices that hold nothing but the first class are images, too. "drop": they are left out.
                This reads all labels; where `report` has problems, it is skipped.
            report: Takes a note with the number of slices that are left out.

        Raises:
            DataError: No slice holds a label.
        """
        names = tuple(f"{case}/{index:03}" for case, count in slice_counts.items() for index in range(count))
        if empty == "keep" or report.problems:
            return names
        labelled = tuple(name for name in names if self._holds_label(name))
        dropped = len(names) - len(labelled)
        report.notes.append(f"left out: {dropped} of {len(names)} slices without a label (dataset.empty=drop)")
        if not labelled:
            raise DataError("no slice holds a label. Correct the masks, or keep empty slices: dataset.empty=keep.")
        return labelled

    def _holds_label(self, name: str) -> bool:
        try:
            values, _ = self.read_labels(name)
        except DataError:
            return True  # the scan names the file and checks the others
        return not np.isin(values, (0, self.ignore_index)).all()
