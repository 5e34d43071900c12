"""DICOM series with masks, as sets of slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.data.read.masks import read_mask_values
from segrun.data.read.raw import Raw
from segrun.data.sets.classes import Classes, IgnoreIndex, MaskValues, check_ignore_index, guesses_index, read_classes
from segrun.data.sets.dicom_files import Series, is_dicom, order_series, read_slice, slice_name
from segrun.data.sets.files import FileReport, dataset_root, visible_files
from segrun.data.sets.nifti_files import MAX_DISTANCE, elsewhere, open_volumes
from segrun.data.sets.volumes import EmptySlices, VolumeSlices
from segrun.errors import DataError, RequestError, import_extra, join_names
from segrun.ranges import NonEmpty

LAYOUT = "images/<case>/*.dcm and masks/"
Files = tuple[Path, ...]


class Dicom(VolumeSlices):
    """`root/images/<case>/*.dcm`: a folder is a series, in the order of the slices' positions.

    Files have the suffix .dcm, .dicom or .IMA, or any name, and begin as DICOM then.

    With `series`, several series of a case are its channels: `root/images/<case>/<series>/*.dcm`, whose slices have
    the same positions.

    The mask of a case is `root/masks/<case>.nii` (or `.nii.gz`), which is turned to the orientation of the series, or
    for each slice `root/masks/<case>/<name of its file>.png` of class indices (the file of the first series, if there
    are several).

    Args:
        root: The folder.
        classes: As for `Folder`.
        series: Names of the series that are the channels; None if a case is one series.
        empty: Whether slices that hold nothing but the first class are images, too, or left out.
        ignore_index: The value in masks that means "no label".
        intensity: How raw values become [0, 1].
        masks: See `MaskValues`.

    Raises:
        MissingExtraError: pydicom is not installed.
        RequestError: `root`, its folders or the classes are missing, names in `series` are not distinct, or
            `ignore_index` is a class.
        DataError: There is no case at all, or no slice is left.
    """

    def __init__(
        self,
        root: str | None,
        classes: Classes | None,
        series: Annotated[Sequence[str], NonEmpty] | None,
        empty: EmptySlices,
        ignore_index: IgnoreIndex,
        intensity: IntensitySettings,
        masks: MaskValues = "index",
    ) -> None:
        import_extra("pydicom", "medical")
        if series is not None and len(set(series)) < len(series):
            raise RequestError(f"dataset.series=[{','.join(series)}]: a name occurs twice. Give each series once.")
        self.root = dataset_root(root)
        self.channels, self.ignore_index = 1 if series is None else len(series), ignore_index
        self.intensity = Intensity(intensity)
        self.guessed_index = guesses_index(masks, ignore_index)
        self.classes = read_classes(self.root, classes)
        check_ignore_index(self.classes, ignore_index)
        report = FileReport()
        folders = self._list_folders(report)
        self.cases = _single_series(folders) if series is None else _channel_series(folders, series, report)
        self._check_cases(series, report)
        if not self.cases:
            raise DataError(f"{self.root}: no series with a mask. dataset.root must hold {LAYOUT}.")
        self._ordered: dict[str, tuple[Series, ...]] = {}
        self.names = self.list_slices({case: len(files[0]) for case, files in self.cases.items()}, empty, report)
        self.notes, self.problems = report.notes, report.problems

    def raw(self, name: str) -> Raw:
        case, index = self.parse_name(name)
        paths = [series.paths[index] for series in self._ordered_series(case)]
        slices = [read_slice(path) for path in paths]
        sizes = {values.shape for values in slices}
        if len(sizes) > 1:
            raise DataError(
                f"{paths[0]}: the series of the case differ in size: {join_names(sorted(sizes))}. Resample them to the "
                "same grid."
            )
        return np.stack(slices)

    def read_labels(self, name: str) -> tuple[NDArray[np.int64], Path]:
        case, index = self.parse_name(name)
        codes = self._ordered_series(case)[0].codes
        *_, path = self.files(name)
        if path.suffix == ".png":
            return read_mask_values(path), path
        (label,) = open_volumes((path,))
        if codes is None:
            raise DataError(f"{path}: the files of {case} state no orientation to turn it to. Use masks/{case}/*.png.")
        series = self._ordered_series(case)[0]
        count, series_count = label.slice_count(codes), len(series.paths)
        if count != series_count:
            raise DataError(
                f"{path}: has {count} slices, the series {case} has {series_count}. Save the mask on the grid of the "
                "series."
            )
        distance = 0.0 if series.affine is None else label.distance_to(series.shape, series.affine, codes)
        if MAX_DISTANCE < distance < math.inf:  # the scan compares the sizes
            raise DataError(f"{path}: lies up to {elsewhere(distance)}")
        return label.read_label_slice(codes, index), path

    def files(self, name: str) -> Files:
        case, index = self.parse_name(name)
        try:
            images = tuple(series.paths[index] for series in self._ordered_series(case))
        except DataError:  # reading an image raises it; these files decide whether a scan is repeated
            images = tuple(path for paths in self.cases[case] for path in paths)
        mask = self._nifti_mask(case) or self.root / "masks" / case / f"{slice_name(images[0])}.png"
        return (*images, mask)

    def _ordered_series(self, case: str) -> tuple[Series, ...]:
        """Read when a case is needed, so that data sets of many files are listed quickly."""
        if case not in self._ordered:
            self._ordered[case] = order_series(self.cases[case])
        return self._ordered[case]

    def _nifti_mask(self, case: str) -> Path | None:
        candidates = (self.root / "masks" / f"{case}{suffix}" for suffix in (".nii", ".nii.gz"))
        return next((path for path in candidates if path.is_file()), None)

    def _list_folders(self, report: FileReport) -> dict[PurePosixPath, Files]:
        """The files of each folder in images/."""
        top = self.root / "images"
        if not top.is_dir():
            raise RequestError(f"{top}: there is no such folder. dataset.root must hold {LAYOUT}.")
        files = list(visible_files(top))
        folders: dict[PurePosixPath, list[Path]] = {}
        names: dict[Path, Path] = {}
        for path in filter(is_dicom, files):
            twin = names.setdefault(path.with_name(slice_name(path)), path)
            if twin != path:
                report.problems.append(f"{twin} and {path.name} share a name. Remove or rename one.")
                continue
            folders.setdefault(PurePosixPath(path.relative_to(top).as_posix()).parent, []).append(path)
        others = len(files) - sum(map(len, folders.values()))
        if others:
            report.notes.append(f"left out: {others} files in images/ that are not DICOM")
        loose = folders.pop(PurePosixPath(), None)
        if loose:
            report.problems.append(
                f"{loose[0]}: lies in images/ itself, where each case must be a folder. Move it into one."
            )
        return {folder: tuple(paths) for folder, paths in folders.items()}

    def _check_cases(self, series: Sequence[str] | None, report: FileReport) -> None:
        """Report cases whose series differ in their number of slices, and cases without a mask."""
        for case, files in self.cases.items():
            if len({len(paths) for paths in files}) > 1:
                counts = [f"{name} has {len(paths)}" for name, paths in zip(series or (), files, strict=True)]
                report.problems.append(
                    f"{self.root / 'images' / case}: its series differ in slices: {', '.join(counts)}. "
                    "Complete them, or remove the case."
                )
            masks = self.root / "masks" / case
            bare = [path for path in files[0] if not (masks / f"{slice_name(path)}.png").is_file()]
            if bare and self._nifti_mask(case) is None:
                report.problems.append(
                    f"{masks}.nii(.gz) is missing, and so are {masks}/*.png for {len(bare)} of {len(files[0])} slices. "
                    "Complete the masks, or remove the case."
                )


def _single_series(folders: Mapping[PurePosixPath, Files]) -> dict[str, tuple[Files, ...]]:
    """Each folder as a case of one series."""
    return {str(folder): (paths,) for folder, paths in folders.items()}


def _channel_series(
    folders: Mapping[PurePosixPath, Files], series: Sequence[str], report: FileReport
) -> dict[str, tuple[Files, ...]]:
    """The files of the named series of each case."""
    others = {folder.name for folder in folders} - set(series)
    if others:
        names = join_names(sorted(others))
        report.notes.append(f"left out: series other than {join_names(series)}: {names}")
    cases = dict.fromkeys(folder.parent for folder in folders if folder.name in series)
    return {str(case): tuple(folders.get(case / name, ()) for name in series) for case in cases}
