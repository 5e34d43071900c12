"""YOLO's segmentation labels: a text file with a polygon a line for each image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segrun.data.dataset import SPLITS
from segrun.data.sets.annotated import Annotated, Mask, pictures
from segrun.data.sets.files import existing
from segrun.data.sets.polygons import Region, corners, polygon
from segrun.errors import DataError, RequestError, join_names

BEYOND = 1e-3  # of the image: what rounding explains


class Yolo(Annotated):
    """Ultralytics' layout: `data.yaml` with names, path, train, val and test (folders or lists of images); the labels
    lie where the last `images` of an image's path says `labels`, one line `class x1 y1 x2 y2 …` a polygon, in shares
    of the image's width and height. Classes: `background`, then the names.

    Where polygons overlap, the one of fewer pixels lies on top. An image without a label file shows background.

    data: the YAML file in root; root and its `path` are where the folders are looked for.

    Raises:
        RequestError: root, or folders that data.yaml names, are not there.
        DataError: a data.yaml that cannot be understood.
    """

    def __init__(self, root: str | None, data: str, background: str | None) -> None:
        self.root = existing(root)
        self.file = self.root / data
        content = self._content()
        self.numbered = self._numbered(content)
        self.name_classes(self.numbered, background)
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.places = {}
        self.splits = {}
        self.base = _normal(self.root / str(content.get("path") or ""))
        for split in SPLITS:
            given = content.get(split) or []
            places = given if isinstance(given, list) else [given]
            images = [_normal(path) for place in places for path in self._images(str(place))]
            names = tuple(self._add(path) for path in images)
            if names:
                self.splits[split] = names
        if not self.places:
            raise DataError(f"{self.file}: train, val and test name no image.")
        if bare := sum(not label.is_file() for _, label in self.places.values()):
            self.notes.append(f"{bare} images have no label file: all background")

    def _content(self) -> Mapping[str, Any]:
        try:
            content = yaml.safe_load(_text(self.file))
        except yaml.YAMLError as error:
            raise DataError(f"{self.file}: no YAML ({str(error).splitlines()[0]}).") from error
        if not isinstance(content, dict):
            raise DataError(f"{self.file}: is to hold names, train and val.")
        return content

    def _numbered(self, content: Mapping[str, Any]) -> list[str]:
        names = content.get("names")
        if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
            names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
        if not isinstance(names, list) or not names:
            raise DataError(f"{self.file}: names is to be a list, or {{0: name, 1: name, …}} without gaps.")
        if content.get("nc", len(names)) != len(names):
            raise DataError(f"{self.file}: nc is {content['nc']}, but there are {len(names)} names.")
        return [str(name) for name in names]

    def _images(self, place: str) -> Iterator[Path]:
        """The images of a folder, or of a list."""
        # Roboflow writes ../train/images for a folder beside data.yaml
        tried = [base / p for base in (self.base, self.root) for p in (place, place.removeprefix("../"))]
        found = next((path for path in tried if path.exists()), None)
        if found is None:
            raise RequestError(f"{self.file}: {place} is neither in {self.base} nor in {self.root}. Correct it there.")
        if found.is_dir():
            images = [found / name for name in pictures(found)]
            yield from images
            labels = label_file(found / "any").parent
            used = {label_file(path) for path in images}
            if labels != found and (left := [p for p in labels.rglob("*.txt") if p not in used]):
                self.notes.append(
                    f"left out: {len(left)} files in {labels} without an image: {join_names(sorted(left), 3)}"
                )
            return
        for line in filter(None, map(str.strip, _text(found).splitlines())):
            path = next((p for p in (found.parent / line, self.base / line) if p.is_file()), None)
            if path is None:
                self.problems.append(f"{found}: names {line}, which is not there.")
            else:
                yield path

    def _add(self, image: Path) -> str:
        short = next((image.relative_to(b) for b in (self.base, self.root) if image.is_relative_to(b)), image)
        name = short.with_suffix("").as_posix().lstrip("/")
        if self.places.setdefault(name, (image, label_file(image)))[0] != image:
            self.problems.append(f"{self.places[name][0]} and {image.name} share a name: remove or rename one.")
        return name

    def files(self, name: str) -> tuple[Path, ...]:
        return tuple(path for path in self.places[name] if path.is_file())

    def draw(self, name: str, mask: Mask) -> None:
        file = self.places[name][1]
        lines = _text(file).splitlines() if file.is_file() else []
        shapes = [self._shape(line.split(), f"{file}:{n}", mask) for n, line in enumerate(lines, 1) if line.strip()]
        for region, value in sorted(shapes, key=lambda shape: -shape[0].area):
            region.paint(mask, value)

    def _shape(self, words: list[str], place: str, mask: Mask) -> tuple[Region, int]:
        if not words[0].isdecimal() or int(words[0]) >= len(self.numbered):
            raise DataError(f"{place}: class {words[0]}; {self.file.name} names 0 to {len(self.numbered) - 1}.")
        if len(words) == 5:
            raise DataError(f"{place}: 5 numbers are a box. Segmentation needs outlines: class x1 y1 x2 y2 x3 y3 ….")
        points = corners(words[1:], place)
        if ((points < -BEYOND) | (points > 1 + BEYOND)).any():
            worst = points.ravel()[np.abs(points.ravel() - 0.5).argmax()]
            raise DataError(f"{place}: the coordinate {worst:g} is outside 0…1: shares of width and height are wanted.")
        height, width = mask.shape
        return polygon(points * [width, height], mask.shape), self.index[self.numbered[int(words[0])]]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise DataError(f"{file}: cannot be read ({reason}).") from error


def _normal(path: Path) -> Path:
    """Without `..`, so that one image has one name."""
    return Path(os.path.normpath(path))


def label_file(image: Path) -> Path:
    """Of an image; beside it, where no folder above is named images."""
    parts = list(image.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)
