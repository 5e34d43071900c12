"""NIfTI volumes with label volumes, as sets of slices."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.intensity import Intensity, IntensitySettings
from segrun.data.read.raw import Raw
from segrun.data.sets.annotated import read_json, take, take_name
from segrun.data.sets.classes import Classes, IgnoreIndex, MaskValues, check_ignore_index, guesses_index, read_classes
from segrun.data.sets.files import COMPLETE_OR_ALLOW, FileReport, dataset_root, list_files, pair_files
from segrun.data.sets.nifti_files import MAX_DISTANCE, Volume, elsewhere, open_volumes
from segrun.data.sets.volumes import EmptySlices, VolumeSlices
from segrun.errors import DataError, RequestError, import_extra, join_names
from segrun.ranges import PositiveInt

LAYOUT = "imagesTr/ and labelsTr/, or images/ and masks/"
# the orientation of slices across each axis (see `nifti_files`): as radiologists look at them, and counted to the
# right, to the front or up
ORIENTATIONS = {0: "PIR", 1: "LIA", 2: "LPS"}


@dataclass(frozen=True)
class Case:
    """A volume with its labels.

    Attributes:
        images: Files whose channels follow one another.
        label: The file of class indices.
    """

    images: tuple[Path, ...]
    label: Path


class Nifti(VolumeSlices):
    """Volumes in the layout of the Medical Segmentation Decathlon and of nnU-Net.

    `root/imagesTr` and `root/labelsTr`, and optionally `imagesTs` and `labelsTs`, which are test then (Antonelli et
    al., Nature Communications 2022; Isensee et al., Nature Methods 2021). Or `root/images` and `root/masks`.

    Images are slices, after turning all volumes, labels too, to one orientation by their affine; they are not
    resampled. A label whose affine puts it elsewhere than its image is a problem.

    Args:
        root: The folder.
        classes: As for `Folder`; None also for the labels in dataset.json.
        channels: Of a 4-D file, or the number of files `case_0000`, `case_0001`, … per case.
        axis: Across which slices are taken: 0 sagittal, 1 coronal, 2 axial.
        empty: Whether slices that hold nothing but the first class are images, too, or left out.
        ignore_index: The value in labels that means "no label".
        allow_unpaired: Leave out images without a label and labels without an image, instead of refusing them.
        intensity: How raw values become [0, 1].
        masks: See `MaskValues`.

    Raises:
        MissingExtraError: nibabel is not installed.
        RequestError: `root`, its folders or the classes are missing, or `ignore_index` is a class.
        DataError: There is no case at all, or no slice is left.
    """

    def __init__(
        self,
        root: str | None,
        classes: Classes | None,
        channels: PositiveInt,
        axis: Literal[0, 1, 2],
        empty: EmptySlices,
        ignore_index: IgnoreIndex,
        allow_unpaired: bool,
        intensity: IntensitySettings,
        masks: MaskValues = "index",
    ) -> None:
        import_extra("nibabel", "medical")
        self.root, self.intensity = dataset_root(root), Intensity(intensity)
        self.channels, self.codes, self.ignore_index = channels, ORIENTATIONS[axis], ignore_index
        self.guessed_index = guesses_index(masks, ignore_index)
        if classes is None:
            classes = decathlon_classes(self.root / "dataset.json")
        self.classes = read_classes(self.root, classes)
        check_ignore_index(self.classes, ignore_index)
        report = FileReport()
        self.cases: dict[str, Case] = {}
        cases_by_split = {
            split: self._add_cases(folders, allow_unpaired, report)
            for split, folders in self._split_folders(report).items()
        }
        slice_counts = self._count_slices(report)
        if not self.cases:
            raise DataError(f"{self.root}: no image with a label of its name. dataset.root must hold {LAYOUT}.")
        _note_compressed(self.cases, report)
        self.names = self.list_slices(slice_counts, empty, report)
        if "test" in cases_by_split:
            self.splits = {
                split: tuple(name for name in self.names if self.group(name) in cases)
                for split, cases in cases_by_split.items()
            }
        self.notes, self.problems = report.notes, report.problems

    def raw(self, name: str) -> Raw:
        case, index = self.parse_name(name)
        slices = [volume.read_slice(self.codes, index) for volume in open_volumes(self.cases[case].images)]
        return np.concatenate(slices).astype(np.float32)

    def read_labels(self, name: str) -> tuple[NDArray[np.int64], Path]:
        case, index = self.parse_name(name)
        (label,) = open_volumes((self.cases[case].label,))
        return label.read_label_slice(self.codes, index), label.path

    def files(self, name: str) -> tuple[Path, ...]:
        case = self.cases[self.group(name)]
        return (*case.images, case.label)

    def _split_folders(self, report: FileReport) -> dict[str, tuple[Path, Path]]:
        """The folders of images and labels of train and test, or of "all"."""
        if not (self.root / "imagesTr").is_dir():
            return {"all": (self.root / "images", self.root / "masks")}
        folders = {"train": (self.root / "imagesTr", self.root / "labelsTr")}
        if (self.root / "labelsTs").is_dir():
            folders["test"] = (self.root / "imagesTs", self.root / "labelsTs")
        elif (self.root / "imagesTs").is_dir():
            report.notes.append("left out: imagesTs/, which has no labelsTs/")
        return folders

    def _add_cases(self, folders: tuple[Path, Path], allow_unpaired: bool, report: FileReport) -> set[str]:
        """Add the cases of two folders to `cases`, and return their names."""
        images, labels = (_list_volumes(folder, report) for folder in folders)
        channel_files = _group_channels(images, labels)
        first_files = {case: next(iter(files.values())) for case, files in channel_files.items()}
        pairs = pair_files(first_files, labels, folders, report, allow_unpaired=allow_unpaired, cure=COMPLETE_OR_ALLOW)
        for case, (image, label) in pairs.items():
            if case in self.cases:
                report.problems.append(f"{image}: the case {case} is in another folder, too. Remove or rename one.")
            channels = sorted(channel_files[case])
            if channels != list(range(len(channels))):
                report.problems.append(
                    f"{image}: the case has the channels {join_names(channels)}. Number them from 0 without gaps."
                )
            self.cases[case] = Case(tuple(channel_files[case][channel] for channel in channels), label)
        return set(pairs)

    def _count_slices(self, report: FileReport) -> dict[str, int]:
        """The number of slices of each case whose image and label fit each other."""
        counts: dict[str, int] = {}
        turned = 0
        for name, case in self.cases.items():
            try:
                label, *images = (Volume(path) for path in (case.label, *case.images))
            except DataError as error:
                report.problems.append(str(error))
                continue
            channels = sum(image.channels for image in images)
            if channels != self.channels:
                report.problems.append(
                    f"{case.images[0]}: has {channels} channels, dataset.channels={self.channels}. Set it to "
                    f"{channels}, or remove the case."
                )
            problem = next((text for image in images if (text := self._misfit(image, label))), "")
            if problem:
                report.problems.append(problem)
            else:
                counts[name] = label.slice_count(self.codes)
                turned += any(image.grid != label.grid for image in images)
        if turned:
            report.notes.append(f"{turned} cases have labels along other axes than their images: turned, exactly")
        return counts

    def _misfit(self, image: Volume, label: Volume) -> str:
        """Why the voxels of an image and its label do not lie at the same places; empty if they do."""
        distance = image.distance(label, self.codes)
        if distance <= MAX_DISTANCE:
            return ""
        both = f"{image.path}: is {image.grid}, its label {label.path.name} {label.grid}"
        if distance == math.inf:
            return f"{both}. Save both on the same grid."
        return f"{both}, and lies up to {elsewhere(distance)}"


def _group_channels(images: Mapping[str, Path], labels: Mapping[str, Path]) -> dict[str, dict[int, Path]]:
    """The files of each case by channel: `case_0000` is channel 0, unless there is a label of that name."""
    groups: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        case, channel = name, 0
        numbered = re.fullmatch(r"(.+)_(\d{4})", name)
        if numbered and name not in labels:
            case, channel = numbered[1], int(numbered[2])
        groups.setdefault(case, {})[channel] = path
    return groups


def _list_volumes(folder: Path, report: FileReport) -> dict[str, Path]:
    """The .nii and .nii.gz files of a folder by name."""
    volumes: dict[str, Path] = {}
    for stem, path in list_files(folder, report, (".nii", ".gz"), LAYOUT).items():
        name = stem.removesuffix(".nii")
        if name in volumes:  # a.nii beside a.nii.gz
            report.problems.append(f"{path}: there is {name}.nii, too. Remove one.")
        else:
            volumes[name] = path
    return volumes


def _note_compressed(cases: Mapping[str, Case], report: FileReport) -> None:
    compressed = sum(path.suffix == ".gz" for case in cases.values() for path in case.images)
    if compressed:
        report.notes.append(
            f"{compressed} files are decompressed as a whole for each slice that is read; .nii is faster"
        )


def decathlon_classes(file: Path) -> list[str] | None:
    """The labels of a `dataset.json` in the order of their values; None if there is no such file.

    Both `{"0": name}` (Decathlon) and `{name: 0}` (nnU-Net) are read. The "ignore" of nnU-Net is left out: set
    dataset.ignore_index.

    Raises:
        RequestError: It holds no labels, or their values do not count from 0.
    """
    if not file.is_file():
        return None
    labels = take(read_json(file), "labels", (dict,), file)
    names: dict[int, str] = {}
    for key, value in labels.items():
        by_value = key.isdecimal()
        name = take_name(labels, key, file, "labels") if by_value else key
        if name != "ignore":
            names[int(key) if by_value else _label_value(value, file)] = name
    if sorted(names) != list(range(len(names))):
        raise RequestError(
            f"{file}: has the labels {join_names(sorted(names))}, which do not count from 0 without gaps. "
            "Give dataset.classes=[…]."
        )
    return [names[index] for index in sorted(names)]


def _label_value(value: object, file: Path) -> int:
    text = str(value)
    if not isinstance(value, int | str) or not text.isdecimal():
        raise RequestError(f"{file}: holds no labels ({reprlib.repr(value)} is no value). Give dataset.classes=[…].")
    return int(text)
