"""DICOM series (the standard's part 3) with masks, as sets of slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.images import mask_values
from segrun.data.read.intensity import Intensity
from segrun.data.read.raw import Raw
from segrun.data.sets.classes import read_classes
from segrun.data.sets.dicom_files import Series, in_order, values_of
from segrun.data.sets.files import existing, files_in
from segrun.data.sets.nifti_files import opened
from segrun.data.sets.volumes import Volumes
from segrun.errors import DataError, RequestError, import_extra, join_names

WANTS = "images/<case>/*.dcm and masks/"
Files = tuple[Path, ...]


class Dicom(Volumes):
    """`root/images/<case>/*.dcm`, a folder is a series, in the order of the slices' positions.

    series: several of a case are its channels: `root/images/<case>/<series>/*.dcm`, in slices at the same places.
    A case's mask is `root/masks/<case>.nii` (or `.nii.gz`), turned as the series is, or for each slice
    `root/masks/<case>/<name of its file>.png` of class indices (the first series's, where there are several).

    Raises:
        RequestError: root, classes or intensity are missing or contradict each other.
        DataError: no case at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        series: Sequence[str] | None,
        empty: str,
        ignore_index: int,
        intensity: Mapping[str, Any],
    ) -> None:
        import_extra("pydicom", "medical")
        if series is not None and (isinstance(series, str) or not series or len(set(series)) < len(series)):
            raise RequestError(f"dataset.series={series}: a list of different names, such as [T1,T2], or null.")
        self.root = existing(root)
        self.channels, self.ignore_index = 1 if series is None else len(series), ignore_index
        self.intensity = Intensity(**intensity)
        self.classes = read_classes(self.root, classes)
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.cases = self._series(series)
        self.order: dict[str, tuple[Series, ...]] = {}
        if not self.cases:
            raise DataError(f"{self.root}: no series with a mask; it is to hold {WANTS}.")
        self.list_slices({case: len(files[0]) for case, files in self.cases.items()}, empty)

    def raw(self, name: str) -> Raw:
        paths = self.files(name)[:-1]
        planes = [values_of(path) for path in paths]
        if len(sizes := {plane.shape for plane in planes}) > 1:
            raise DataError(f"{paths[0]}: the case's series differ in size: {join_names(sorted(sizes))}.")
        return np.stack(planes)

    def indices(self, name: str) -> tuple[NDArray[np.int64], Path]:
        *_, path = self.files(name)
        if path.suffix == ".png":
            return mask_values(path), path
        case, number = self.place(name)
        codes = self._ordered(case)[0].codes
        (label,) = opened((path,))
        if codes is None:
            raise DataError(f"{path}: {case} says no orientation that it could be turned to. Use masks/{case}/*.png.")
        if label.depth(codes) != len(self.cases[case][0]):
            raise DataError(f"{path}: has {label.depth(codes)} slices, the series {case} {len(self.cases[case][0])}.")
        return label.labels(codes, number), path

    def files(self, name: str) -> Files:
        case, number = self.place(name)
        images = tuple(series.paths[number] for series in self._ordered(case))
        return (*images, self._mask(case) or self.root / "masks" / case / f"{images[0].stem}.png")

    def _ordered(self, case: str) -> tuple[Series, ...]:
        """Read when the case is first asked for: a data set of many files is listed at once."""
        if case not in self.order:
            self.order[case] = in_order(self.cases[case])
        return self.order[case]

    def _mask(self, case: str) -> Path | None:
        places = (self.root / "masks" / f"{case}{suffix}" for suffix in (".nii", ".nii.gz"))
        return next((path for path in places if path.is_file()), None)

    def _series(self, wanted: Sequence[str] | None) -> dict[str, tuple[Files, ...]]:
        """The files of each case's series, which have a mask; what does not fit is a problem."""
        folders: dict[PurePosixPath, list[Path]] = {}
        for name, path in files_in(self.root / "images", self.notes, self.problems, (".dcm",), WANTS).items():
            folders.setdefault(PurePosixPath(name).parent, []).append(path)
        if loose := folders.pop(PurePosixPath(), None):
            self.problems.append(f"{loose[0]}: lies in images/ itself. Each case is a folder there.")
        if wanted is None:
            found: dict[str, tuple[Files, ...]] = {str(folder): (tuple(paths),) for folder, paths in folders.items()}
        else:
            if others := {folder.name for folder in folders} - set(wanted):
                self.notes.append(f"left out: series other than {join_names(wanted)}: {join_names(sorted(others))}")
            cases = dict.fromkeys(folder.parent for folder in folders if folder.name in wanted)
            found = {str(case): tuple(tuple(folders.get(case / s, ())) for s in wanted) for case in cases}
        for case, files in found.items():
            if len({len(paths) for paths in files}) > 1:
                counts = (f"{name} has {len(paths)}" for name, paths in zip(wanted or (), files, strict=False))
                self.problems.append(
                    f"{self.root / 'images' / case}: its series differ in slices: {', '.join(counts)}."
                )
            masks = self.root / "masks" / case
            bare = [path for path in files[0] if not (masks / f"{path.stem}.png").is_file()]
            if bare and self._mask(case) is None:
                self.problems.append(
                    f"{masks}.nii(.gz) is not there, nor {len(bare)} of {len(files[0])} slices' {masks}/*.png. "
                    "Complete the masks, or move the case away."
                )
        return found
