"""NIfTI volumes with label volumes, as sets of slices."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrun.data.read.intensity import Intensity
from segrun.data.read.raw import Raw
from segrun.data.sets.classes import read_classes
from segrun.data.sets.files import existing, files_in, paired, unpaired
from segrun.data.sets.nifti_files import Volume, opened
from segrun.data.sets.volumes import Volumes
from segrun.errors import DataError, RequestError, import_extra, join_names

WANTS = "imagesTr/ and labelsTr/, or images/ and masks/"
# where columns, rows and slices of each axis run to (R right, A to the front, S up; L, P, I against them): a slice is
# seen as radiologists see it, and its number counts to the right, to the front or up
PLANES = {0: "PIR", 1: "LIA", 2: "LPS"}


@dataclass(frozen=True)
class Case:
    """images: files whose channels follow each other; label: the file of its classes."""

    images: tuple[Path, ...]
    label: Path


class Nifti(Volumes):
    """`root/imagesTr` + `root/labelsTr` (and `imagesTs` + `labelsTs`, which then are test), as in the Medical
    Segmentation Decathlon (Antonelli et al., Nature Communications 2022) and nnU-Net (Isensee et al., Nature Methods
    2021), or `root/images` + `root/masks`.

    Images are slices along `axis` (0 sagittal, 1 coronal, 2 axial) after turning every volume to one orientation by its
    affine; they are not resampled. Channels are those of a 4-D file, or files `case_0000`, `case_0001`, …
    Classes are given, or those of `dataset.json`.

    Raises:
        RequestError: root, classes, axis or intensity are missing or contradict each other.
        DataError: no case at all.
    """

    def __init__(
        self,
        root: str | None,
        classes: Sequence[str] | Mapping[str, Sequence[int]] | None,
        channels: int,
        axis: int,
        empty: str,
        ignore_index: int,
        allow_unpaired: bool,
        intensity: Mapping[str, Any],
    ) -> None:
        import_extra("nibabel", "medical")
        if axis not in PLANES:
            raise RequestError(f"dataset.axis={axis}: choose 0 (sagittal), 1 (coronal) or 2 (axial).")
        self.root = existing(root)
        self.channels, self.codes, self.ignore_index = channels, PLANES[axis], ignore_index
        self.intensity = Intensity(**intensity)
        self.classes = read_classes(self.root, classes or decathlon_classes(self.root / "dataset.json"))
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.cases: dict[str, Case] = {}
        parts = {key: self._listed(place, allow_unpaired) for key, place in self._places().items()}
        depths = {name: depth for name, case in self.cases.items() if (depth := self._depth(case)) is not None}
        if not self.cases:
            raise DataError(f"{self.root}: no image with a label of its name; it is to hold {WANTS}.")
        if packed := sum(path.suffix == ".gz" for case in self.cases.values() for path in case.images):
            self.notes.append(f"{packed} files are decompressed whole for each slice that is drawn; .nii is quicker")
        self.list_slices(depths, empty)
        if "test" in parts:
            self.splits = {key: tuple(n for n in self.names if self.group(n) in part) for key, part in parts.items()}

    def raw(self, name: str) -> Raw:
        case, number = self.place(name)
        planes = [volume.plane(self.codes, number) for volume in opened(self.cases[case].images)]
        return np.concatenate(planes).astype(np.float32)

    def indices(self, name: str) -> tuple[NDArray[np.int64], Path]:
        case, number = self.place(name)
        (label,) = opened((self.cases[case].label,))
        return label.labels(self.codes, number), label.path

    def files(self, name: str) -> tuple[Path, ...]:
        case = self.cases[self.group(name)]
        return (*case.images, case.label)

    def _places(self) -> dict[str, tuple[Path, Path]]:
        if not (self.root / "imagesTr").is_dir():
            return {"all": (self.root / "images", self.root / "masks")}
        places = {"train": (self.root / "imagesTr", self.root / "labelsTr")}
        if (self.root / "labelsTs").is_dir():
            places["test"] = (self.root / "imagesTs", self.root / "labelsTs")
        elif (self.root / "imagesTs").is_dir():
            self.notes.append("left out: imagesTs/, which has no labelsTs/")
        return places

    def _listed(self, place: tuple[Path, Path], allow_unpaired: bool) -> set[str]:
        """Adds the cases of two folders; gives their names."""
        images, labels = (self._volumes(folder) for folder in place)
        files: dict[str, dict[int, Path]] = {}
        for name, path in images.items():
            numbered = re.fullmatch(r"(.+)_(\d{4})", name)
            case, channel = (numbered[1], int(numbered[2])) if numbered and name not in labels else (name, 0)
            files.setdefault(case, {})[channel] = path
        first = {case: next(iter(paths.values())) for case, paths in files.items()}
        pairs = paired(first, labels, place, *unpaired(self.notes, self.problems, allow_unpaired))
        for case, (image, label) in pairs.items():
            if case in self.cases:
                self.problems.append(f"{image}: the case {case} is in another folder, too. Remove or rename one.")
            channels, paths = zip(*sorted(files[case].items()), strict=True)
            if channels != tuple(range(len(paths))):
                self.problems.append(f"{image}: there are the channels {join_names(channels)}; they count from 0 on.")
            self.cases[case] = Case(paths, label)
        return set(pairs)

    def _volumes(self, folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for name, path in files_in(folder, self.notes, self.problems, (".nii", ".gz"), WANTS).items():
            if found.setdefault(name.removesuffix(".nii"), path) != path:  # a.nii beside a.nii.gz
                self.problems.append(f"{path}: there is {name.removesuffix('.nii')}.nii, too. Remove one.")
        return found

    def _depth(self, case: Case) -> int | None:
        """The number of slices; None, and a problem said, where image and label do not fit."""
        try:
            label, *images = (Volume(path) for path in (case.label, *case.images))
        except DataError as error:
            self.problems.append(str(error))
            return None
        if (held := sum(image.channels for image in images)) != self.channels:
            self.problems.append(f"{case.images[0]}: has {held} channels, dataset.channels={self.channels}.")
        if other := [image for image in images if image.grid != label.grid]:
            self.problems.append(
                f"{other[0].path}: is {other[0].grid}, its label {label.path.name} {label.grid}. "
                "Save both on the same grid."
            )
            return None
        return label.depth(self.codes)


def decathlon_classes(file: Path) -> list[str] | None:
    """The labels of a `dataset.json` in the order of their values, {"0": name} or {name: 0}, without nnU-Net's
    "ignore" (say dataset.ignore_index); None where there is no such file.

    Raises:
        RequestError: no such labels in it.
    """
    if not file.is_file():
        return None
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))["labels"]
        pairs = [(int(k), v) if str(k).isdecimal() else (int(v), k) for k, v in labels.items()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"{file}: holds no labels ({error!r}). Give dataset.classes=[…].") from error
    found = {value: str(name) for value, name in pairs if name != "ignore"}
    if sorted(found) != list(range(len(found))):
        raise RequestError(f"{file}: labels {join_names(sorted(found))}; they count from 0 on. Give dataset.classes=[…].")
    return [found[value] for value in sorted(found)]
