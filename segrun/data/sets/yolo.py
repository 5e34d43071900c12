"""YOLO's segmentation labels: a text file per image, with one polygon per line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segrun.data.dataset import SPLITS
from segrun.data.sets.annotated import (
    OUTSIDE,
    AnnotatedDataset,
    Mask,
    folders_allowed,
    is_file,
    list_images,
    path_inside,
)
from segrun.data.sets.classes import NULLS, read_yaml
from segrun.data.sets.files import FileReport, dataset_root
from segrun.data.sets.polygons import Region, parse_points, rasterize_polygon
from segrun.errors import DataError, RequestError, UnreadableError, brief, join_names

TOLERANCE = 1e-3  # of width or height: a coordinate outside the image by less than this is a rounding error


class Yolo(AnnotatedDataset):
    """Ultralytics' layout: `data.yaml` with names, path, train, val and test (folders or lists of images).

    Labels are found by replacing the last `images` in the path of an image with `labels`. A line is
    `class x1 y1 x2 y2 …`, a polygon in fractions of width and height. Classes are `background`, then the names.
    Where polygons overlap, the one with fewer pixels is on top. An image without a label file is all background.

    Args:
        root: The folder.
        data: The YAML file in `root`. Its folders are searched for in `root` and in its own `path`.
        background: The class of pixels that no polygon covers; None: they are VOID.
        allow_outside: Whether `path`, train, val, test and lists may lead out of `root`; see `path_inside`.

    Raises:
        RequestError: `root`, or folders that the YAML file names, are missing.
        DataError: The YAML file cannot be understood.
    """

    def __init__(self, root: str | None, data: str, background: str | None, allow_outside: bool = False) -> None:
        self.root = dataset_root(root)
        self.folders = folders_allowed(allow_outside, self.root)
        self.file = self.root / data
        content = _read_yaml(self.file)
        self.label_names = _parse_names(content, self.file)
        self.set_classes(self.label_names, background)
        path = _text(content, "path")
        base = path_inside(self.root / path, self.folders)
        self.base = _normalize(base or self.root)
        self.unsearched = path if base is None else ""
        report = FileReport()
        if self.unsearched:
            report.notes.append(f"{self.file}: its path {brief(path)} is outside dataset.root, and is not searched")
        self.paths = {}
        self.splits = {}
        for split in SPLITS:
            entries = content.get(split)
            images: list[Path] = []
            for entry in entries if isinstance(entries, list) else [_text(content, split)]:
                if not isinstance(entry, str):
                    raise DataError(f"{self.file}: {split} must name a folder or a list, or several of them.")
                images += self._list_images(entry, report) if entry else []
            if images:
                self.splits[split] = tuple(self._add_image(image, report) for image in images)
        if not self.paths:
            raise DataError(f"{self.file}: train, val and test name no image. Correct their folders or lists.")
        bare = sum(not label_file.is_file() for _, label_file in self.paths.values())
        if bare:
            report.notes.append(f"{bare} images have no label file: all background")
        self.notes, self.problems = report.notes, report.problems

    def _list_images(self, entry: str, report: FileReport) -> list[Path]:
        """The images of a folder or of a list, which the YAML file names."""
        # Roboflow writes ../train/images for a folder beside data.yaml
        spellings = (entry, entry.removeprefix("../"))
        candidates = [folder / spelling for folder in (self.base, self.root) for spelling in spellings]
        inside = [path for candidate in candidates if (path := path_inside(candidate, self.folders))]
        path = next((candidate for candidate in inside if os.path.exists(candidate)), None)  # noqa: PTH110
        if path is None:
            if self.unsearched or not inside:
                raise DataError(f"{self.file}: names {brief(self.unsearched or entry)}, {OUTSIDE}")
            raise RequestError(
                f"{self.file}: {brief(entry)} is neither in {self.base} nor in {self.root}. Correct it in "
                f"{self.file.name}."
            )
        if not path.is_dir():
            return list(self._read_list(path, report))
        path = _normalize(path)
        images = [path / name for name in list_images(path)]
        _note_stray_labels(path, images, report)
        return images

    def _read_list(self, file: Path, report: FileReport) -> Iterator[Path]:
        """The images that a list names, relative to its own folder or to `path`."""
        for line in _read_text(file).splitlines():
            entry = line.strip()
            if not entry:
                continue
            candidates = (file.parent / entry, self.base / entry)
            inside = [path for candidate in candidates if (path := path_inside(candidate, self.folders))]
            image = next((candidate for candidate in inside if is_file(candidate)), None)
            if not inside:
                report.problems.append(f"{file}: names {brief(entry)}, {OUTSIDE}")
            elif image is not None:
                yield _normalize(image)
            else:
                report.problems.append(
                    f"{file}: names {brief(entry)}, which is missing. Restore it, or remove the line."
                )

    def _add_image(self, image: Path, report: FileReport) -> str:
        """Add an image to `paths`, and return its name: its path in `path` or `root`."""
        base = next((folder for folder in (self.base, self.root) if image.is_relative_to(folder)), None)
        short = image if base is None else image.relative_to(base)
        name = short.with_suffix("").as_posix().lstrip("/")
        if name not in self.paths:
            self.paths[name] = (image, find_label_file(image))
        elif self.paths[name][0] != image:
            report.problems.append(f"{self.paths[name][0]} and {image.name} share a name. Remove or rename one.")
        return name

    def files(self, name: str) -> tuple[Path, ...]:
        return tuple(path for path in self.paths[name] if is_file(path))

    def draw(self, name: str, mask: Mask) -> None:
        file = self.paths[name][1]
        lines = _read_text(file).splitlines() if file.is_file() else []
        shapes: list[tuple[Region, int]] = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                shapes.append(self._rasterize_line(line.split(), f"{file}:{number}", mask))
        shapes.sort(key=lambda shape: -shape[0].area)
        for region, value in shapes:
            region.paint(mask, value)

    def _rasterize_line(self, words: list[str], place: str, mask: Mask) -> tuple[Region, int]:
        """The pixels and the class of a line."""
        if not words[0].isdecimal() or int(words[0]) >= len(self.label_names):
            raise DataError(
                f"{place}: class {brief(words[0])}; {self.file.name} names 0 to {len(self.label_names) - 1}. Correct "
                "one of them."
            )
        if len(words) == 5:
            raise DataError(f"{place}: 5 numbers are a box. Segmentation needs outlines: class x1 y1 x2 y2 x3 y3 ….")
        points = parse_points(words[1:], place)
        if ((points < -TOLERANCE) | (points > 1 + TOLERANCE)).any():
            coordinates = points.ravel()
            worst = coordinates[np.abs(coordinates - 0.5).argmax()]
            raise DataError(f"{place}: the coordinate {worst:g} is outside 0…1. Give fractions of width and height.")
        height, width = mask.shape
        region = rasterize_polygon(points * [width, height], mask.shape)
        return region, self.class_index[self.label_names[int(words[0])]]


def find_label_file(image: Path) -> Path:
    """The label file of an image; beside it if no folder above is named images."""
    parts = list(image.with_suffix(".txt").parts)
    folders = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts)


def _read_yaml(file: Path) -> Mapping[str, Any]:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: must hold names, train and val.")
    return content


def _text(content: Mapping[str, Any], key: str) -> str:
    """The text of a key; empty where it has no value."""
    value = content.get(key, "")
    return value if isinstance(value, str) and value not in NULLS else ""


def _parse_names(content: Mapping[str, Any], file: Path) -> list[str]:
    """The class names in the order of their numbers."""
    names = content.get("names")
    if isinstance(names, dict) and sorted(names) == sorted(map(str, range(len(names)))):
        names = [names[str(index)] for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: names must be a list, or {{0: name, 1: name, …}} without gaps.")
    count = content.get("nc", str(len(names)))
    if count != str(len(names)):
        raise DataError(f"{file}: nc is {brief(count)}, but there are {len(names)} names. Correct one of them.")
    return names


def _note_stray_labels(image_dir: Path, images: list[Path], report: FileReport) -> None:
    """Note label files of a folder that belong to no image."""
    label_dir = find_label_file(image_dir / "any").parent
    if label_dir == image_dir:
        return
    used = {find_label_file(image) for image in images}
    stray = sorted(path for path in label_dir.rglob("*.txt") if path not in used)
    if stray:
        report.notes.append(f"left out: {len(stray)} files in {label_dir} without an image: {join_names(stray, 3)}")


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UnreadableError(f"{file}: cannot be read ({reason}).") from error


def _normalize(path: Path) -> Path:
    """Without `..`, so that an image has one name."""
    return Path(os.path.normpath(path))
